/**
 * Where the matrix is run: a lab with a forwarder, a backend for each kind of server, clients whose paths and
 * windows can be set, and the same servers on the kernel's stack for comparison. Knows processes and
 * namespaces; must not know what a client does or what is expected.
 */
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as wait } from "node:timers/promises";
import { Cluster } from "../../../host/lab/cluster.ts";
import { makeCertificate } from "../../../host/lab/certificate.ts";
import type { LabNode, OwnLab } from "../../../host/lab/lab.ts";
import type { Middlebox } from "../../../host/lab/middlebox.ts";
import { patternChunks } from "../../../host/lab/pattern.ts";
import { visit } from "../../../host/lab/peers.ts";
import type { VisitResult } from "../../../host/lab/visit.ts";
import { firstLine, supportScript } from "../lab.ts";
import { HTTP_PORT, HTTPS_PORT, IPERF_PORT, RAW_PORT } from "./raw.ts";
import { MIB, mtuOf, SEGMENT, type Row, type Server, type Talk } from "./table.ts";

/** Which node serves how. */
const NODES = { library: "b1", upstream: "b2", iperf3: "b3", s_server: "b4" } as const;
const PORTS = { http: HTTP_PORT, https: HTTPS_PORT, raw: RAW_PORT, iperf3: IPERF_PORT } as const;
/** Of the servers on the kernel's stack, in the namespace of every backend. */
const PEER_PORT = 8090;
const LAB_MTU = 9000;
const WARM_LIMIT_MS = 60_000;
const SERVER_LIMIT_MS = 60_000;
const POLL_MS = 20;
/** How long a window's bytes may be in bookkeeping: what the kernel calls a buffer holds half of it at least. */
const WINDOWS = { segment: "4096 4096 4096", "16 MiB": `4096 ${32 * MIB} ${32 * MIB}` } as const;
const DEFAULT_WINDOW = "4096 131072 6291456";
/** For SO_RCVBUF, which the kernel doubles. */
export const SMALL_BUFFER = 2_048;

export type Ours = Row["ours"];

/** `--limit` of the forwarder, which reads the request, and of the backends. */
const LIMITS: Readonly<Record<Ours, readonly string[]>> = {
  default: [],
  segment: ["--limit", `receive-bytes=${SEGMENT}`],
  "16 MiB": ["--limit", "receive-bytes=16M", "--limit", "send-bytes=16M"],
};

/** Where a client finds a server. */
export interface Target {
  readonly address: string;
  readonly port: number;
  readonly host: string;
}

/** What the daemons said of one row's connections. */
export interface Reports {
  readonly handed: number;
  /** Ends of those that no backend has reported as over. */
  readonly open: readonly string[];
  readonly failures: readonly string[];
}

/** The ports that a row's connections come from: nothing else tells late news of one row from news of the next. */
const PORT_FIRST = 20_000;
const PORTS_OF_ROW = 128;

function portsOf(index: number): { first: number; last: number } {
  const first = PORT_FIRST + index * PORTS_OF_ROW;
  return { first, last: first + PORTS_OF_ROW - 1 };
}

export class Bed {
  readonly lab: OwnLab;
  readonly cluster: Cluster;
  /** Nodes that clients run on. */
  readonly clients: readonly LabNode[];
  python = "python3";
  /** Of every server, one PEM after the other. */
  certificates = "";
  readonly folder = mkdtempSync(join(tmpdir(), `baton-interop-${process.pid}-`));
  readonly #turns = new Map<Server, Promise<unknown>>();

  private constructor(lab: OwnLab, ours: Ours, clients: readonly string[]) {
    this.lab = lab;
    this.clients = clients.map((name) => lab.node(name));
    const { service4, service6 } = lab.plan;
    const flags = ["--mtu", String(LAB_MTU), ...LIMITS[ours]];
    this.cluster = new Cluster(lab, {
      services: Object.values(PORTS).flatMap((port) => [
        `${service4}:${port}`,
        `[${service6}]:${port}`,
      ]),
      routes: [
        ...Object.entries(NODES).map(
          ([name, node]) => `host=${name}.example,raw.${name}.example -> ${node}`,
        ),
        ...Object.entries(NODES).map(([name, node]) => `sni=${name}.example -> ${node}`),
        `protocol=other -> ${NODES.iperf3}`,
      ],
      upstream: `127.0.0.1:${PEER_PORT}`,
      forwarderFlags: flags,
      backendFlags: flags,
      scripts: { [NODES.library]: supportScript("interop/peer") },
    });
  }

  /** Ready to be used; the lab ends with it, also when that fails. */
  static async open(lab: OwnLab, ours: Ours, clients: readonly string[]): Promise<Bed> {
    const bed = new Bed(lab, ours, clients);
    try {
      await Promise.all([...bed.clients, ...lab.backends].map(calm));
      await bed.#startServers();
      const { stdout } = await lab.nodes.client.run("python3", ["-c", WHICH_PYTHON]);
      bed.python = stdout.trim() || bed.python;
      await bed.cluster.ready();
      await bed.#warmUp();
      return bed;
    } catch (error) {
      await bed.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.lab.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends the daemons in order; what they did not end well with, or counted that no path can explain. */
  async stop(): Promise<string[]> {
    const ends = await this.cluster.stop();
    const counted = this.cluster.daemons.flatMap(({ name, events }) => {
      const counters = events.find(({ event }) => event === "counters");
      const core = (counters?.["core"] ?? {}) as Readonly<Record<string, number>>;
      if (core["packets_in"] === undefined) return [`${name}: expected counters, got none`];
      // Those that are zero are left out.
      return INEXPLICABLE.filter((counter) => core[counter] !== undefined).map(
        (counter) => `${name}: expected no ${counter}, got ${core[counter]}`,
      );
    });
    return [...ends, ...counted];
  }

  /** @param kernel the same server on the kernel's stack, past the forwarder */
  target(row: Row, talk: Talk, server: Server, kernel: boolean): Target {
    const { plan } = this.lab;
    const { address4, address6 } = this.lab.node(NODES[server]).address;
    const [own4, own6] = kernel ? [address4, address6] : [plan.service4, plan.service6];
    const name = `${server}.example`;
    return {
      address: row.family === 4 ? own4 : own6,
      port: kernel ? PEER_PORT : PORTS[talk.over],
      host: talk.over === "raw" ? `raw.${name}` : name,
    };
  }

  /** Link, window and ports of a client as a row wants them. */
  async shape(client: LabNode, row: Row, index: number): Promise<void> {
    const { name, device, address6, gateway4, gateway6 } = client.address;
    const mtu = mtuOf(row);
    // A device of less than 1280 bytes loses its IPv6 addresses and routes.
    const six = (address: string): string[] => (mtu < 1280 ? [] : [`address replace ${address}`]);
    await batch(this.lab.nodes.router, [
      `link set ${name} mtu ${mtu}`,
      ...six(`${gateway6}/64 dev ${name} nodad`),
    ]);
    await batch(client, [
      `link set ${device} mtu ${mtu}`,
      ...six(`${address6}/64 dev ${device} nodad`),
      ...(mtu < 1280 ? [] : [defaultRoute(gateway6)]),
      defaultRoute(gateway4),
    ]);
    const window = row.window === "default" ? DEFAULT_WINDOW : WINDOWS[row.window];
    await sysctl(client, "tcp_rmem", window);
    const { first, last } = portsOf(index);
    await sysctl(client, "ip_local_port_range", `${first} ${last}`);
  }

  /** Undefined: the path is good. */
  async impair(client: LabNode, row: Row, seed: number): Promise<Middlebox | undefined> {
    const { lossPercent, delayMs, disorder } = row;
    const more = {
      none: {},
      reordered: { reorderPercent: DISORDER_PERCENT },
      duplicated: { duplicatePercent: DISORDER_PERCENT },
    }[disorder];
    if (lossPercent === 0 && delayMs === 0 && disorder === "none") return undefined;
    return this.lab.middlebox(client.name, { lossPercent, delayMs, ...more, seed });
  }

  /** What `openssl s_server` serves are files. */
  async publish(bytes: number): Promise<void> {
    mkdirSync(join(this.folder, "bytes"), { recursive: true });
    const file = join(this.folder, "bytes", String(bytes));
    await pipeline(Readable.from(patternChunks(bytes)), createWriteStream(file));
  }

  /** One after the other, for each server: it has closed what the one before opened. */
  async alone<T>(server: Server, body: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(server) ?? Promise.resolve();
    const turn = before.then(async () => {
      const result = await body();
      await idle(this.nodeOf(server));
      return result;
    });
    this.#turns.set(
      server,
      turn.catch(() => undefined),
    );
    return turn;
  }

  nodeOf(server: Server): LabNode {
    return this.lab.node(NODES[server]);
  }

  /**
   * Connections that a client opened for a row: handed to a backend, ended there, and what was said of others. A row
   * before it may have left some behind, of which a RST was lost; they end when they end.
   */
  reports(client: LabNode, index: number): Reports {
    const ends = [client.address.address4, `[${client.address.address6}]`];
    const { first, last } = portsOf(index);
    const isTheirs = (end: string): boolean => {
      const colon = end.lastIndexOf(":");
      const port = Number(end.slice(colon + 1));
      return ends.includes(end.slice(0, colon)) && first <= port && port <= last;
    };
    const handed = new Set<string>();
    const ended = new Set<string>();
    const failures: string[] = [];
    for (const { name, events } of this.cluster.daemons) {
      for (const { event, client: end, failure } of events) {
        if (event !== "connection" || !isTheirs(String(end))) continue;
        if (name !== "forwarder") ended.add(String(end));
        else if (failure === undefined) handed.add(String(end));
        if (failure !== undefined) failures.push(`${name}: ${String(end)} ${String(failure)}`);
      }
    }
    const open = [...handed].filter((end) => !ended.has(end));
    return { handed: handed.size, open, failures };
  }

  async #startServers(): Promise<void> {
    const peers = [NODES.library, NODES.upstream].map(async (name) => {
      const words = [
        "--enable-source-maps",
        supportScript("interop/peer"),
        "listen",
        "::",
        String(PEER_PORT),
      ];
      const line = await firstLine(this.lab.node(name).exec(process.execPath, words));
      this.#trust(line);
    });
    await Promise.all([...peers, this.#startIperf(), this.#startOpenssl()]);
  }

  #trust(line: string): void {
    this.certificates += `${(JSON.parse(line) as { pem: string }).pem}\n`;
  }

  /** Absent where the program is: its rows are skipped. */
  async #startIperf(): Promise<void> {
    const node = this.lab.node(NODES.iperf3);
    node.exec("iperf3", ["-s", "-p", String(PEER_PORT)], { stdio: "ignore" });
    await listening(node);
  }

  async #startOpenssl(): Promise<void> {
    const { key, certificate } = makeCertificate(["s_server.example"]);
    this.certificates += `${certificate}\n`;
    writeFileSync(join(this.folder, "key.pem"), key, { mode: 0o600 });
    writeFileSync(join(this.folder, "certificate.pem"), certificate);
    const node = this.lab.node(NODES.s_server);
    const words = ["s_server", "-WWW", "-quiet", "-accept", String(PEER_PORT)];
    const own = ["-key", "key.pem", "-cert", "certificate.pem"];
    node.exec("openssl", [...words, ...own], { cwd: this.folder, stdio: "ignore" });
    await listening(node);
  }

  /** Nodes introduce themselves to each other first. */
  async #warmUp(): Promise<void> {
    const daemon = this.cluster.backends.get(NODES.library);
    this.#trust(JSON.stringify(daemon?.events.find(({ event }) => event === "certificate") ?? {}));
    const hosts = ["library.example", "upstream.example"];
    const visits = hosts.map((host, id) => {
      const address = this.lab.plan.service4;
      return { id, address, port: HTTP_PORT, tls: false, asks: [{ host, path: "/" }] };
    });
    const endMs = performance.now() + WARM_LIMIT_MS;
    for (let results: VisitResult[] = []; ;) {
      const options = { visits, certificate: "", timeoutMs: 2_000 };
      await visit(this.lab.nodes.client, options, (result) => results.push(result));
      if (results.every(({ answers }) => answers[0]?.status === 200)) return;
      if (performance.now() > endMs) throw new Error(`warm-up: ${JSON.stringify(results)}`);
      results = [];
    }
  }
}

/** Counters of the core that nothing between the ends may raise. */
const INEXPLICABLE = [
  "ip_malformed",
  "ip_fragment",
  "ip_checksum",
  "segment_malformed",
  "offload_malformed",
  "tcp_checksum",
  "tcp_malformed",
  "tcp_pool_dropped",
  "tcp_timed_out",
  "tcp_syn_dropped",
  "tcp_frozen_dropped",
  "tunnel_stranger",
] as const;

const DISORDER_PERCENT = 3;
const WHICH_PYTHON = "import sys; print(sys.executable)";

/** A namespace may not be allowed to prefer CUBIC, as ours does; its routes may. */
function defaultRoute(gateway: string): string {
  return `route replace default via ${gateway} congctl cubic`;
}

/** What one row leaves in the kernel's memory must not reach the next. */
async function calm(node: LabNode): Promise<void> {
  await sysctl(node, "tcp_no_metrics_save", "1");
  const { gateway4, gateway6 } = node.address;
  await batch(node, [gateway4, gateway6].map(defaultRoute));
}

async function sysctl(node: LabNode, name: string, value: string): Promise<void> {
  const path = `/proc/sys/net/ipv4/${name}`;
  const { status, stderr } = await node.run("sh", ["-c", `echo '${value}' > ${path}`]);
  if (status !== 0) throw new Error(`${node.name}: ${name}: ${stderr.trim()}`);
}

async function batch(node: LabNode, lines: readonly string[]): Promise<void> {
  const { status, stderr } = await node.run("ip", ["-batch", "-"], { input: lines.join("\n") });
  if (status !== 0) throw new Error(`${node.name}: ip: ${stderr.trim()}`);
}

/** Somebody listens on PEER_PORT; polled, because the programs do not say. */
function listening(node: LabNode): Promise<void> {
  return polled(node, "nobody listens", ["-Htln"], (sockets) => sockets !== "");
}

/** The server has no connection that is open. */
function idle(node: LabNode): Promise<void> {
  const states = ["-Htn", "state", "connected", "exclude", "time-wait"];
  return polled(node, "the server is busy", states, (sockets) => sockets === "");
}

async function polled(
  node: LabNode,
  complaint: string,
  states: readonly string[],
  isRight: (sockets: string) => boolean,
): Promise<void> {
  const endMs = performance.now() + SERVER_LIMIT_MS;
  for (;;) {
    const { stdout } = await node.run("ss", [...states, `sport = :${PEER_PORT}`]);
    if (isRight(stdout.trim())) return;
    if (performance.now() > endMs) throw new Error(`${node.name}: ${complaint}: ${stdout}`);
    await wait(POLL_MS);
  }
}
