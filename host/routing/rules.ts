/**
 * The grammar of `--route` and `--pool`: text in, checked rules out, every error with its column. Knows
 * syntax and which conditions exclude one another; must not know how a choice is made. docs/routing.md.
 */
import { BatonError } from "../errors.ts";
import { hostPattern } from "./name.ts";
import { POLICIES } from "./policy.ts";
import type { Policy, Pool } from "./policy.ts";
import type { RequestHead } from "./route.ts";

export type Protocol = RequestHead["protocol"];

export interface Rule {
  /** Conditions as they are reported: "host=api.example path=/v1/*", or "default". */
  readonly text: string;
  readonly protocol: Protocol | undefined;
  /** Alternatives of each condition; empty: anything will do. */
  readonly host: readonly string[];
  readonly path: readonly string[];
  readonly sni: readonly string[];
  readonly alpn: readonly string[];
  readonly pool: Pool;
  /** The pool's name; rules that name the same pool share its turns. */
  readonly poolName: string | undefined;
}

/** What the text of a rule may name. */
export interface Names {
  readonly backends: readonly string[];
  readonly pools: ReadonlyMap<string, Pool>;
}

/** The text is wrong at `column`, counted from 1. */
export class RuleError extends BatonError {
  readonly column: number;

  constructor(column: number, what: string) {
    super("ERR_BATON_ROUTE", `column ${column}: ${what}`);
    this.column = column;
  }
}

/** Names of nodes and pools. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const KEYS = ["protocol", "host", "path", "sni", "alpn"] as const;
const PROTOCOLS: readonly Protocol[] = ["http", "tls", "other"];

type Key = (typeof KEYS)[number];

/** The protocol that each condition speaks of. */
const SPEAKS: Readonly<Record<Exclude<Key, "protocol">, Protocol>> = {
  host: "http",
  path: "http",
  sni: "tls",
  alpn: "tls",
};

interface Word {
  readonly text: string;
  readonly column: number;
}

/** `conditions -> target` */
export function parseRoute(source: string, names: Names): Rule {
  const words = split(source, 1);
  const arrow = words.findIndex((word) => word.text === "->");
  const end = source.length + 1;
  if (arrow < 0) throw new RuleError(end, 'expected "->", got the end of the rule');
  if (arrow === 0) throw new RuleError(1, 'expected a condition or "default", got "->"');
  const left = words.slice(0, arrow);
  return { ...parseConditions(left), ...parseTarget(words.slice(arrow + 1), end, names) };
}

/** `name=b1,b2 [policy=NAME]` */
export function parsePool(source: string, backends: readonly string[]): [string, Pool] {
  const equals = source.indexOf("=");
  const name = equals < 0 ? source : source.slice(0, equals).trim();
  if (equals < 0) throw new RuleError(source.length + 1, 'expected "=", got the end of the pool');
  checkName({ text: name, column: 1 });
  if (backends.includes(name)) throw new RuleError(1, `"${name}" is a backend's name already`);
  const words = split(source.slice(equals + 1), equals + 2);
  const names = { backends, pools: new Map<string, Pool>() };
  return [name, parseTarget(words, source.length + 1, names).pool];
}

type Conditions = Omit<Rule, "pool" | "poolName">;

function parseConditions(words: readonly Word[]): Conditions {
  const found: Record<Key, string[]> = { protocol: [], host: [], path: [], sni: [], alpn: [] };
  const text = words.map((word) => word.text).join(" ");
  if (text === "default") return { text, ...found, protocol: undefined };
  let protocol: Protocol | undefined;
  for (const word of words) {
    const { key, values } = parseCondition(word);
    if (found[key].length > 0) throw new RuleError(word.column, `"${key}=" stands twice`);
    found[key] = values;
    const speaks = key === "protocol" ? (values[0] as Protocol) : SPEAKS[key];
    if (protocol !== undefined && protocol !== speaks) {
      const what = `"${word.text}" is about ${speaks}, what stands before it about ${protocol}`;
      throw new RuleError(word.column, `${what}: the rule can never match`);
    }
    protocol = speaks;
  }
  return { text, ...found, protocol };
}

function parseCondition(word: Word): { key: Key; values: string[] } {
  const equals = word.text.indexOf("=");
  const name = equals < 0 ? word.text : word.text.slice(0, equals);
  const key = KEYS.find((known) => known === name);
  if (equals < 0 || key === undefined) {
    const expected = `expected ${KEYS.map((known) => known + "=").join(", ")}`;
    const hint = name === "default" ? '"default" stands alone' : `got "${word.text}"`;
    throw new RuleError(word.column, `${expected} or "->", ${hint}`);
  }
  const values = list(word.text.slice(equals + 1), word.column + equals + 1);
  if (key === "protocol" && values.length > 1) {
    throw new RuleError(values[1]?.column ?? word.column, "expected one protocol, got several");
  }
  return { key, values: values.map((value) => parseValue(key, value)) };
}

function parseValue(key: Key, value: Word): string {
  const fail = (expected: string): never => {
    throw new RuleError(value.column, `expected ${expected}, got "${value.text}"`);
  };
  switch (key) {
    case "protocol":
      return PROTOCOLS.find((protocol) => protocol === value.text) ?? fail("http, tls or other");
    case "host":
    case "sni": {
      const expected = 'a host name, in ASCII and without port, or "*." and a host name';
      return hostPattern(value.text, key === "host") ?? fail(expected);
    }
    case "path":
      if (!value.text.startsWith("/")) return fail('a path that starts with "/"');
      if (/[?#]/.test(value.text)) return fail("a path without query");
      if (/\*(?!$)|[^/]\*$/.test(value.text)) return fail('"*" only at the end, after "/"');
      if (!/^[\x21-\x7e]+$/.test(value.text)) return fail("printable ASCII, the rest as %XX");
      return value.text;
    case "alpn":
      if (!/^[\x21-\x7e]{1,255}$/.test(value.text)) return fail("a protocol name in ASCII");
      return value.text;
  }
}

function parseTarget(
  words: readonly Word[],
  end: number,
  names: Names,
): Pick<Rule, "pool" | "poolName"> {
  const [first, second, third] = words;
  if (first === undefined) throw new RuleError(end, "expected a pool or backends, got the end");
  if (third !== undefined) throw new RuleError(third.column, `unexpected "${third.text}"`);
  const members = list(first.text, first.column);
  for (const member of members) checkName(member);
  const policy = second && parsePolicy(second);
  const [only] = members;
  const named = only && members.length === 1 ? names.pools.get(only.text) : undefined;
  if (only && named) {
    if (second === undefined) return { pool: named, poolName: only.text };
    throw new RuleError(second.column, `the policy stands with the pool "${only.text}"`);
  }
  members.forEach((member, index) => {
    if (members.findIndex((other) => other.text === member.text) < index) {
      throw new RuleError(member.column, `"${member.text}" stands twice`);
    }
    if (names.backends.includes(member.text)) return;
    const isPool = names.pools.has(member.text);
    const what = isPool ? `the pool "${member.text}" must stand alone` : undefined;
    throw new RuleError(member.column, what ?? `no backend or pool is called "${member.text}"`);
  });
  const backends = members.map((member) => member.text);
  return { pool: { backends, policy: policy ?? "round-robin" }, poolName: undefined };
}

function parsePolicy(word: Word): Policy {
  const name = word.text.startsWith("policy=") ? word.text.slice("policy=".length) : undefined;
  if (name === undefined) throw new RuleError(word.column, `unexpected "${word.text}"`);
  const policy = POLICIES.find((known) => known === name);
  if (policy !== undefined) return policy;
  const column = word.column + "policy=".length;
  throw new RuleError(column, `expected ${POLICIES.join(", ")}, got "${name}"`);
}

function checkName(word: Word): void {
  if (NAME_PATTERN.test(word.text)) return;
  throw new RuleError(
    word.column,
    `expected a name of letters, digits, ".", "_", "-", got "${word.text}"`,
  );
}

/** Comma-separated values, none of them empty. */
function list(source: string, column: number): Word[] {
  let at = column;
  return source.split(",").map((text) => {
    if (text === "") throw new RuleError(at, "expected a value, got nothing");
    const word = { text, column: at };
    at += text.length + 1;
    return word;
  });
}

/** Words between blanks; `column` is that of the first character. */
function split(source: string, column: number): Word[] {
  return [...source.matchAll(/[^\s]+/g)].map((match) => ({
    text: match[0],
    column: column + match.index,
  }));
}
