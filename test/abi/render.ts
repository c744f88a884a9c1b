/** Renders the generated parts of docs/abi.md. Knows Markdown; must not know the ABI. */
import type { AbiEnum, AbiFunction, AbiGroup, AbiStructure, AbiValue } from "./source.ts";

export function renderFunctions(groups: readonly AbiGroup[]): string {
  return groups
    .map(({ title, functions }) => `### ${capital(title)}\n\n${functionTable(functions)}`)
    .join("\n\n");
}

function functionTable(functions: readonly AbiFunction[]): string {
  const rows = functions.map(({ signature, doc }) => `| \`${signature}\` | ${cell(doc)} |`);
  return ["| export | meaning |", "| --- | --- |", ...rows].join("\n");
}

export function renderStructures(structures: readonly AbiStructure[]): string {
  return structures
    .map(({ name, doc }) => {
      const first = doc.findIndex((line) => /^\s+\d+ /.test(line));
      const prose = first < 0 ? doc : doc.slice(0, first);
      const table = first < 0 ? "" : `\n\n\`\`\`\n${doc.slice(first).join("\n")}\n\`\`\``;
      return `### ${name}\n\n${prose.join(" ").trim()}${table}`;
    })
    .join("\n\n");
}

/** @param value of an exported global, by its name */
export function renderEnums(enums: readonly AbiEnum[], value: (name: string) => number): string {
  return enums
    .map(({ name, doc, members }) => {
      const rows = members.map((member) => valueRow(`${name}.${member.name}`, member.doc, value));
      return [`### ${name}`, "", ...(doc === "" ? [] : [doc, ""]), ...HEAD, ...rows].join("\n");
    })
    .join("\n\n");
}

export function renderConstants(
  constants: readonly AbiValue[],
  value: (name: string) => number,
): string {
  return [...HEAD, ...constants.map(({ name, doc }) => valueRow(name, doc, value))].join("\n");
}

const HEAD = ["| export | value | meaning |", "| --- | --- | --- |"];

function valueRow(name: string, doc: string, value: (name: string) => number): string {
  return `| \`${name}\` | ${value(name)} | ${cell(doc)} |`;
}

/** Puts `text` between the marks of one generated part of a page. */
export function splice(page: string, part: string, text: string): string {
  const begin = `<!-- made from assembly/: ${part} -->\n`;
  const end = `\n<!-- end of ${part} -->`;
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page has no part ${part}`);
  return `${page.slice(0, from)}${begin}\n${text}\n${page.slice(to)}`;
}

function cell(text: string): string {
  return text.replace(/\|/g, "\\|");
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
