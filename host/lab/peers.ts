/**
 * What stands at both ends of a service in the lab: a real server behind each backend, a kernel TCP client.
 * Knows how to start them (origin.ts, visitor.ts) and their JSON lines; must not know Baton.
 */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import type { KeyAndCertificate } from "./certificate.ts";
import type { LabNode } from "./lab.ts";
import type { OriginOptions } from "./origin.ts";
import type { VisitorOptions, VisitResult } from "./visit.ts";

const ORIGIN = fileURLToPath(new URL("./origin.js", import.meta.url));
const VISITOR = fileURLToPath(new URL("./visitor.js", import.meta.url));

/** Where every origin listens, on the loopback of its node. */
export const ORIGIN_PORT = 8080;

/** Resolves when the server listens; it ends with the lab. */
export async function startOrigin(node: LabNode, secrets: KeyAndCertificate): Promise<void> {
  const { child, stderr } = startScript(node, ORIGIN);
  const origin: OriginOptions = { name: node.name, port: ORIGIN_PORT, ...secrets };
  child.stdin?.write(JSON.stringify(origin) + "\n");
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => {
      const got = complaint(stderr()) ?? `exit status ${status}`;
      reject(
        new BatonError("ERR_BATON_LAB", `server on ${node.name}: expected it to run, got ${got}`),
      );
    });
    child.stdout?.once("data", () => resolve());
  });
}

/** A client process on a node; ends when it has made its visits, one after the other. */
export async function visit(
  node: LabNode,
  options: VisitorOptions,
  onResult: (result: VisitResult) => void,
): Promise<void> {
  await runScript<VisitResult>(node, VISITOR, options, onResult);
}

/** A script of ours on a node, with pipes to it, and what it has said on its standard error so far. */
export function startScript(
  node: LabNode,
  script: string,
): { readonly child: ChildProcess; readonly stderr: () => string } {
  const child = node.exec(process.execPath, ["--enable-source-maps", script], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin?.on("error", () => undefined); // "close" tells.
  return { child, stderr: () => stderr };
}

/**
 * Runs a script of ours on a node: `input` goes in as one JSON line, each line that comes out is JSON.
 * Rejects when it fails.
 */
export async function runScript<Line>(
  node: LabNode,
  script: string,
  input: unknown,
  onLine: (line: Line) => void,
): Promise<void> {
  const { child, stderr } = startScript(node, script);
  child.stdin?.end(JSON.stringify(input) + "\n");
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => onLine(JSON.parse(line) as Line));
  }
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (status === 0) return;
  const got = complaint(stderr()) ?? `exit status ${status}`;
  throw new BatonError("ERR_BATON_LAB", `client: expected it to do its work, got ${got}`);
}

function complaint(stderr: string): string | undefined {
  return /^\w*Error: .*$/m.exec(stderr)?.[0];
}
