/**
 * PID 1 of the lab: holds every network namespace by a descriptor, makes the wiring, and exits when its
 * standard input closes; the kernel then takes processes, namespaces, devices and routes down with it.
 * Talks JSON lines (`host/lab/launch.ts` is the other end). Must not know daemons, packets or tests.
 */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { BatonError } from "../errors.ts";
import { createNetworkNamespace, inNetworkNamespace, reap } from "../linux/namespace.ts";
import { setOffloads } from "../linux/offload.ts";
import {
  EARLY_SYSCTLS,
  nodeCommands,
  routerCommands,
  routerRoutes,
  type Plan,
} from "./topology.ts";

export interface Ready {
  /** Descriptor of each namespace in this process, by node name. */
  readonly fds: Readonly<Record<string, number>>;
  /** Why no TUN device can be opened here; empty when one can. */
  readonly tunReason: string;
}

export type Request = { id: number; method: "offload"; on: boolean };
export type Reply =
  | { ready: Ready }
  | { fatal: string }
  | { id: number; refused: string[] }
  | { id: number; error: string };

process.on("SIGTERM", () => process.exit(0));
process.on("SIGINT", () => process.exit(0));
process.on("SIGCHLD", reapOrphans);
process.on("uncaughtException", (error) => {
  send({ fatal: describe(error) });
  process.exit(1);
});

const namespaces = new Map<string, number>();
let plan: Plan | undefined;

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  if (plan !== undefined) return answer(JSON.parse(line) as Request);
  plan = JSON.parse(line) as Plan;
  build(plan);
  send({ ready: { fds: Object.fromEntries(namespaces), tunReason: tunReason() } });
});
lines.on("close", () => process.exit(0));

function build(plan: Plan): void {
  for (const name of ["router", ...plan.nodes.map((node) => node.name)]) {
    const fd = createNetworkNamespace();
    namespaces.set(name, fd);
    inNetworkNamespace(fd, () => {
      for (const [path, value] of EARLY_SYSCTLS) sysctl(path, value);
    });
  }
  const pathOf = (node: string) => `/proc/${process.pid}/fd/${fdOf(node)}`;
  ip("router", routerCommands(plan, pathOf));
  for (const node of plan.nodes) ip(node.name, nodeCommands(node));
  ip("router", routerRoutes(plan));
}

function ip(node: string, commands: readonly string[]): void {
  const input = commands.join("\n") + "\n";
  const result = inNetworkNamespace(fdOf(node), () => spawnSync("ip", ["-batch", "-"], { input }));
  if (result.error) throw new BatonError("ERR_BATON_LAB", `ip: ${result.error.message}`);
  if (result.status === 0) return;
  const text = result.stderr.toString().trim().replaceAll("\n", "; ");
  throw new BatonError("ERR_BATON_LAB", `ip in ${node}: expected status 0, got ${text}`);
}

/** A system without IPv6 lacks those files: the lab needs both families and says so. */
function sysctl(path: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/net/${path}`, value);
  } catch (error) {
    throw new BatonError("ERR_BATON_LAB", `sysctl net/${path}: ${describe(error)}`);
  }
}

function answer(request: Request): void {
  const { id } = request;
  try {
    send({ id, refused: offload(request.on) });
  } catch (error) {
    send({ id, error: describe(error) });
  }
}

/** Both ends of every pair; returns "device feature" for each that did not follow. */
function offload(on: boolean): string[] {
  const refused: string[] = [];
  for (const node of plan?.nodes ?? []) {
    const ends = [
      ["router", node.name],
      [node.name, node.device],
    ] as const;
    for (const [where, device] of ends) {
      const left = inNetworkNamespace(fdOf(where), () => setOffloads(device, on));
      refused.push(...left.map((feature) => `${where}/${device} ${feature}`));
    }
  }
  return refused;
}

function tunReason(): string {
  try {
    closeSync(openSync("/dev/net/tun", "r+"));
    return "";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    return `/dev/net/tun: expected read and write access, got ${code}`;
  }
}

/** Processes whose parent died become ours; without this they would stay as zombies. */
function reapOrphans(): void {
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, "latin1").split(") ")[1]?.split(" ");
      if (fields?.[0] === "Z" && Number(fields[1]) === process.pid) reap(pid);
    } catch {
      // It ended between readdir and read: nothing to reap.
    }
  }
}

function fdOf(node: string): number {
  const fd = namespaces.get(node);
  if (fd === undefined) throw new BatonError("ERR_BATON_LAB", `no node "${node}"`);
  return fd;
}

function send(reply: Reply): void {
  try {
    writeFileSync(1, JSON.stringify(reply) + "\n");
  } catch {
    process.exit(1); // The other end is gone, and with it the reason to live.
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
