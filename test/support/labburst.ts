/**
 * Many short connections for the lab. Usage:
 *
 *   labburst serve PORT        answers the first bytes of each connection and closes first
 *   labburst client ADDRESS PORT COUNT CONCURRENCY
 *                              kernel TCP; prints one BurstResult as JSON
 */
import { readFileSync, readdirSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { performance } from "node:perf_hooks";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { LabNode } from "../../host/lab/lab.ts";
import { firstLine } from "./lab.ts";

export interface BurstResult {
  readonly count: number;
  readonly ports: number;
  readonly resets: number;
  /** Other ends than a whole answer and a FIN, by their code. */
  readonly failures: Readonly<Record<string, number>>;
  readonly seconds: number;
  /** Of connect(), in milliseconds. */
  readonly connectMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Connects that took longer than SLOW_MS, and those of them that the machine's load does not explain. */
  readonly slow: number;
  readonly slowByItself: number;
  /** Of the client's kernel, for all its connections: SYNs that it had to repeat. */
  readonly synRetransmissions: number;
}

const SELF = fileURLToPath(import.meta.url);
const SLOW_MS = 100;
const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
const LIMIT_MS = 30_000;

export async function startBurstServer(node: LabNode, port: number): Promise<ChildProcess> {
  const child = node.exec(process.execPath, [SELF, "serve", String(port)]);
  await firstLine(child);
  return child;
}

export async function burst(
  node: LabNode,
  address: string,
  count: number,
  concurrency: number,
): Promise<BurstResult> {
  const args = [SELF, "client", address, "80", String(count), String(concurrency)];
  const { stdout, stderr, status } = await node.run(process.execPath, args);
  if (status !== 0) throw new Error(`labburst: status ${status}: ${stderr}`);
  return JSON.parse(stdout) as BurstResult;
}

function serve(port: number): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.once("data", () => socket.end(ANSWER));
    socket.on("error", () => socket.destroy());
  });
  server.listen(port, "127.0.0.1", () => process.stdout.write("listening\n"));
}

async function visit(
  address: string,
  port: number,
  count: number,
  concurrency: number,
): Promise<void> {
  const connects: Connect[] = [];
  const waits = new Waits();
  const failures: Record<string, number> = {};
  const ports = new Set<number>();
  const before = synRetransmissions();
  const started = performance.now();
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const code = await one(address, port, connects, ports, waits);
      if (code !== "") failures[code] = (failures[code] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  connects.sort((a, b) => a.ms - b.ms);
  const at = (share: number): number =>
    connects[Math.floor(share * (connects.length - 1))]?.ms ?? NaN;
  const { ECONNRESET: resets = 0, ...others } = failures;
  const result: BurstResult = {
    count,
    ports: ports.size,
    resets,
    failures: others,
    seconds: (performance.now() - started) / 1000,
    connectMs: { p50: at(0.5), p99: at(0.99), max: at(1) },
    slow: connects.filter(({ ms }) => ms > SLOW_MS).length,
    slowByItself: connects.filter(({ ms, waitedMs }) => ms - waitedMs > SLOW_MS).length,
    synRetransmissions: synRetransmissions() - before,
  };
  process.stdout.write(JSON.stringify(result) + "\n");
}

interface Connect {
  readonly ms: number;
  /** How long the processes concerned could have run in that time, while the machine ran others. */
  readonly waitedMs: number;
}

/** What the lab's Node processes have waited for a processor so far (Documentation/scheduler/sched-stats). */
class Waits {
  readonly #paths: string[];

  constructor() {
    const isNode = (pid: string): boolean => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith(process.execPath);
      } catch {
        return false; // It has ended.
      }
    };
    const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && isNode(name));
    this.#paths = pids.map((pid) => `/proc/${pid}/schedstat`);
  }

  totalMs(): number {
    return this.#paths.reduce((sum, path) => sum + waitedNs(path) / 1e6, 0);
  }
}

/** On-CPU time, time waited, slices; all zero, or no such file, on a kernel that does not count. */
function waitedNs(path: string): number {
  try {
    return Number(readFileSync(path, "latin1").split(" ")[1]);
  } catch {
    return 0;
  }
}

/** Empty when the whole answer and a FIN came. */
function one(
  address: string,
  port: number,
  connects: Connect[],
  ports: Set<number>,
  waits: Waits,
): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    let code = "";
    const before = waits.totalMs();
    const started = performance.now();
    const socket = createConnection({ host: address, port, noDelay: true });
    socket.setTimeout(LIMIT_MS, () => socket.destroy(new Error("timeout")));
    socket.once("connect", () => {
      const ms = performance.now() - started;
      connects.push({ ms, waitedMs: ms > SLOW_MS ? waits.totalMs() - before : 0 });
      ports.add(socket.localPort ?? 0);
      socket.write("GET / HTTP/1.1\r\nHost: burst.example\r\n\r\n");
    });
    socket.on("data", (chunk: Buffer) => (received += chunk.toString("latin1")));
    socket.once("error", (error: NodeJS.ErrnoException) => (code = error.code ?? error.message));
    socket.once("close", () => {
      resolve(code !== "" ? code : received === ANSWER ? "" : received.split("\r\n")[0] || "empty");
    });
  });
}

/** TCPSynRetrans of this network namespace (proc_net_netstat). */
function synRetransmissions(): number {
  const lines = readFileSync("/proc/self/net/netstat", "latin1").split("\n");
  const [names = [], values = []] = lines
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  return Number(values[names.indexOf("TCPSynRetrans")]);
}

// Last, because it needs all of the above.
if (process.argv[1] === SELF) {
  const [mode, ...args] = process.argv.slice(2);
  if (mode === "serve") serve(Number(args[0]));
  else await visit(args[0] ?? "", Number(args[1]), Number(args[2]), Number(args[3]));
}
