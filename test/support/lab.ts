/** What the tests on the lab share: a lab or a named skip, ready-made peers, traces of processes. */
import type { ChildProcess } from "node:child_process";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  LabUnavailable,
  openLab,
  type LabNode,
  type LabOptions,
  type OwnLab,
} from "../../host/lab/lab.ts";

/** Compiled path of a script of test/support, to be run by Node inside a namespace. */
export function supportScript(name: string): string {
  return fileURLToPath(new URL(`./${name}.js`, import.meta.url));
}

/** Runs `body` with a lab of its own; prints a named skip where this system cannot have one. */
export async function withLab(
  name: string,
  options: LabOptions,
  body: (lab: OwnLab) => Promise<void>,
): Promise<void> {
  const lab = await labOrSkip(name, options);
  if (lab === undefined) return;
  try {
    await body(lab);
  } finally {
    await lab.close();
  }
}

export async function labOrSkip(name: string, options: LabOptions): Promise<OwnLab | undefined> {
  try {
    return await openLab(options);
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    process.stdout.write(`SKIP ${name}: ${error.message}\n`);
    return undefined;
  }
}

/** The first line that a process prints, or its end as an error. */
export function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.once("error", reject);
    child.once("close", (status) => reject(new Error(`ended with ${status}: ${stderr}`)));
    if (child.stdout) createInterface({ input: child.stdout }).once("line", resolve);
  });
}

/** A kernel TCP server in a node; resolves when it listens on `port` of every address. */
export async function startServer(node: LabNode, port: number): Promise<ChildProcess> {
  const child = node.exec(process.execPath, [supportScript("labserver"), String(port)]);
  await firstLine(child);
  return child;
}

/** Inode name of the network namespace that a node is, for example `net:[4026532000]`. */
export async function namespaceOf(node: LabNode): Promise<string> {
  const { stdout } = await node.run("readlink", ["/proc/self/ns/net"]);
  return stdout.trim();
}

/** Every process of this machine that stands in, or holds a descriptor of, one of the namespaces. */
export function holdersOf(namespaces: ReadonlySet<string>): number[] {
  return processes().filter((pid) => {
    const links = [`/proc/${pid}/ns/net`, ...entries(`/proc/${pid}/fd`)];
    return links.some((link) => namespaces.has(linkOf(link)));
  });
}

/** Every process whose environment carries `marker`. */
export function marked(marker: string): number[] {
  return processes().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "latin1").includes(marker);
    } catch {
      return false;
    }
  });
}

/** Polls until `check` holds; the time limit is the assertion. */
export async function until(what: string, limitMs: number, check: () => boolean): Promise<void> {
  const end = Date.now() + limitMs;
  while (!check()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
    await wait(10);
  }
}

function processes(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid));
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => `${folder}/${name}`);
  } catch {
    return []; // It has ended.
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
