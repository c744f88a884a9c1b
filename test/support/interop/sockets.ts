/**
 * What a client's kernel says of its connections: resets, time-outs, sockets that have not closed. Knows
 * /proc/net/snmp, /proc/net/netstat and ss; must not know who made the connections.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { LabNode } from "../../../host/lab/lab.ts";
import { talkOf, type Row, type Talk } from "./table.ts";

const CLOSE_LIMIT_MS = 30_000;
const POLL_MS = 20;

/** None of these may rise. */
const BAD = [
  "Tcp.AttemptFails",
  "Tcp.EstabResets",
  "Tcp.OutRsts",
  "Tcp.InCsumErrors",
  "TcpExt.TCPAbortOnTimeout",
  "TcpExt.TCPAbortOnData",
  "TcpExt.TCPAbortOnLinger",
  "TcpExt.TCPAbortFailed",
  "TcpExt.TCPBacklogDrop",
] as const;

/**
 * One side closes while bytes for it are under way, and resets: clients that stop when their time is over; of
 * TLS whoever closes first, because nobody waits for the answer to his close_notify.
 */
export function isAbrupt({ tool, over }: Talk): boolean {
  return tool === "wrk" || tool === "iperf3" || over === "https";
}

/** What is right on this row's path, whoever serves. */
function excuses(row: Row): readonly string[] {
  if (isAbrupt(talkOf(row).talk))
    return ["Tcp.EstabResets", "Tcp.OutRsts", "TcpExt.TCPAbortOnData"];
  // The last acknowledgement closes a socket; a copy of it, or what it overtook, finds none.
  return row.disorder === "none" ? [] : ["Tcp.OutRsts"];
}

export class Sockets {
  readonly #counters: ReadonlyMap<string, number>;

  private constructor(counters: ReadonlyMap<string, number>) {
    this.#counters = counters;
  }

  static async read(node: LabNode): Promise<Sockets> {
    const { stdout } = await node.run("cat", ["/proc/net/snmp", "/proc/net/netstat"]);
    return new Sockets(parse(stdout));
  }

  /** What went wrong on `node` since this was read; waits until its connections are closed. */
  async complaints(node: LabNode, row: Row): Promise<string[]> {
    const excused = excuses(row);
    const open = await openSockets(node);
    const now = (await Sockets.read(node)).#counters;
    const risen = BAD.filter((name) => !excused.includes(name))
      .map((name) => [name, (now.get(name) ?? NaN) - (this.#counters.get(name) ?? NaN)] as const)
      .filter(([, by]) => by !== 0);
    return [
      ...risen.map(([name, by]) => `the client's kernel: ${name} rose by ${by}`),
      ...open.map((line) => `not closed: ${line}`),
    ];
  }
}

/** TIME-WAIT is how a connection ends that the client closed first. */
async function openSockets(node: LabNode): Promise<string[]> {
  const endMs = performance.now() + CLOSE_LIMIT_MS;
  for (;;) {
    const { stdout } = await node.run("ss", [
      "-Htan",
      "exclude",
      "time-wait",
      "exclude",
      "listening",
    ]);
    const lines = stdout.split("\n").filter((line) => line.trim() !== "");
    if (lines.length === 0 || performance.now() > endMs) return lines;
    await wait(POLL_MS);
  }
}

/** Two lines for each group: names, then values. */
function parse(text: string): Map<string, number> {
  const counters = new Map<string, number>();
  const lines = text.split("\n");
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const [group = "", ...names] = (lines[at] ?? "").split(" ");
    const [, ...values] = (lines[at + 1] ?? "").split(" ");
    names.forEach((name, index) => {
      counters.set(`${group.replace(":", "")}.${name}`, Number(values[index]));
    });
  }
  return counters;
}
