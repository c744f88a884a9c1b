/**
 * The `ip` command of iproute2. Knows how to run it and what its failures mean; must not know what
 * is configured with it. Never on the packet path: each call is a process of some milliseconds.
 */
import { spawnSync } from "node:child_process";
import { BatonError } from "../errors.ts";

/** The rtnetlink protocol number on routes and neighbour entries that Baton installed. */
export const ROUTE_PROTOCOL = 98;

/** Runs the lines as one `ip -batch`, in order; the first that fails ends it with an error. */
export function ipBatch(lines: readonly string[]): void {
  if (lines.length > 0) run(["-batch", "-"], lines.join("\n") + "\n", lines);
}

/** Runs `ip -json` and returns its objects; an empty answer is an empty list. */
export function ipJson(args: readonly string[]): Record<string, unknown>[] {
  const text = run(["-json", ...args], "", [args.join(" ")]).trim();
  if (text === "") return [];
  const parsed = JSON.parse(text) as Record<string, unknown>[];
  // Attributes that a kernel lacks leave empty objects behind.
  return parsed.filter((entry) => Object.keys(entry).length > 0);
}

function run(args: readonly string[], input: string, lines: readonly string[]): string {
  const result = spawnSync("ip", args, { input, encoding: "utf8", maxBuffer: 64 << 20 });
  if (result.error) {
    const message = `network set-up: expected the command ip (iproute2), got ${result.error.message}`;
    throw new BatonError("ERR_BATON_KERNEL", message, { cause: result.error });
  }
  if (result.status === 0) return result.stdout;
  const failed = /Command failed -:(\d+)/.exec(result.stderr)?.[1];
  const line = failed === undefined ? (lines[0] ?? "") : (lines[Number(failed) - 1] ?? "");
  const reason = result.stderr.split("\n")[0] ?? "";
  throw new BatonError(codeOf(reason), `ip ${line}: ${reason.replace(/^Error: /, "")}`);
}

const CODES: readonly (readonly [RegExp, string])[] = [
  [/Operation not permitted/, "EPERM"],
  [/File exists/, "EEXIST"],
  [/No such (device|process)|Cannot find device|does not exist/, "ENODEV"],
  [/Operation not supported|not supported/, "EOPNOTSUPP"],
  [/Network is unreachable/, "ENETUNREACH"],
  [/No route to host/, "EHOSTUNREACH"],
];

function codeOf(reason: string): string {
  return CODES.find(([pattern]) => pattern.test(reason))?.[1] ?? "ERR_BATON_IP";
}
