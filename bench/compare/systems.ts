/**
 * The lab of the comparison: one client, one server behind everything, and each balancer on a node of its own.
 * Knows how to start them and which process is the balancer; must not know what is measured.
 *
 *   direct          nginx on b1, nothing in between
 *   direct-node     the server of server.ts on b2, on the kernel's stack
 *   baton-upstream  Baton, its backend on b1 splices to that nginx: for a server that exists already
 *   baton-library   Baton, its backend is in server.ts: the application sits on Baton's stack
 *   haproxy         HAProxy in mode http, nginx on b1 behind it
 *   haproxy-splice  HAProxy in mode tcp with splice(2), the same behind it
 *   nginx           nginx as a balancer, the same behind it
 */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Cluster } from "../../host/lab/cluster.ts";
import { LabUnavailable, openLab, type LabNode, type OwnLab } from "../../host/lab/lab.ts";
import { childOf } from "../../host/lab/process.ts";
import { findProgram } from "../../host/linux/programs.ts";
import type { Target } from "./client.ts";
import { FILES } from "./files.ts";
import { haproxyConfig, nginxProxyConfig, ORIGIN_PORT, originConfig } from "./proxies.ts";

export const SYSTEM_NAMES = [
  "direct",
  "direct-node",
  "baton-upstream",
  "baton-library",
  "haproxy",
  "haproxy-splice",
  "nginx",
] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];

export interface System {
  readonly name: SystemName;
  readonly target: Target;
  /** The process between client and server. */
  readonly balancer: number | undefined;
}

export interface Skip {
  readonly name: string;
  readonly reason: string;
}

export const LIBRARY_NODE = "b2";
const UPSTREAM_NODE = "b1";
const PROXY_NODE = "proxy";
const SERVICE_PORT = 80;
/** Last numbers of the addresses that the client takes; its own is below. */
const CLIENT_FIRST = 10;
const CLIENT_LAST = 250;
const START_TRIES = 200;
const PROXY_PORTS = { haproxy: 8001, "haproxy-splice": 8002, nginx: 8003 } as const;

export class Systems {
  readonly lab: OwnLab;
  readonly cluster: Cluster;
  readonly systems: readonly System[];
  readonly skipped: readonly Skip[];
  readonly #folder: string;
  /** The last number of its address. */
  #client = CLIENT_FIRST;

  private constructor(
    lab: OwnLab,
    cluster: Cluster,
    systems: readonly System[],
    skipped: readonly Skip[],
    folder: string,
  ) {
    this.lab = lab;
    this.cluster = cluster;
    this.systems = systems;
    this.skipped = skipped;
    this.#folder = folder;
  }

  /**
   * Everything that this machine can have of `names`, ready to answer.
   * @param forwarder a script that runs in the place of `baton`
   */
  static async open(names: readonly SystemName[], forwarder?: string): Promise<Systems> {
    if (findProgram("nginx") === undefined) {
      throw new LabUnavailable(
        "expected the program nginx, the server behind everything, got none",
      );
    }
    const lab = await openLab({ backends: 2, more: [PROXY_NODE], needTun: true });
    const folder = mkdtempSync(join(tmpdir(), `baton-compare-${process.pid}-`));
    try {
      await lab.offload(true);
      await reusePorts(lab.nodes.client);
      await startNginx(lab.node(UPSTREAM_NODE), folder, "origin", originConfig);
      const cluster = new Cluster(lab, {
        services: [`${lab.plan.service4}:${SERVICE_PORT}`],
        routes: [`host=upstream -> ${UPSTREAM_NODE}`, `host=library -> ${LIBRARY_NODE}`],
        upstream: `127.0.0.1:${ORIGIN_PORT}`,
        scripts: {
          [LIBRARY_NODE]: fileURLToPath(new URL("./server.js", import.meta.url)),
          ...(forwarder === undefined ? {} : { [lab.nodes.forwarder.name]: forwarder }),
        },
        forwarderFlags: ["--quiet"],
        backendFlags: ["--quiet"],
      });
      await cluster.ready();
      const skipped: Skip[] = [];
      const systems: System[] = [];
      for (const name of names) {
        const made = await start(name, lab, cluster, folder);
        if ("reason" in made) skipped.push(made);
        else systems.push(made);
      }
      for (const { name, target } of systems) await untilAnswered(lab.nodes.client, name, target);
      return new Systems(lab, cluster, systems, skipped, folder);
    } catch (error) {
      await lab.close();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * From now on the client has another address: connections by the thousand come from many clients, as a rule, and one
   * of them does not use its port again within the minute of TIME-WAIT.
   */
  async changeClient({ address }: Target): Promise<void> {
    const { client } = this.lab.nodes;
    const { device, gateway4, address4 } = client.address;
    this.#client = this.#client === CLIENT_LAST ? CLIENT_FIRST : this.#client + 1;
    const source = address4.replace(/\d+$/, String(this.#client));
    const words = [
      `ip address replace ${source}/24 dev ${device}`,
      `ip route replace ${address}/32 via ${gateway4} src ${source}`,
    ].join(" && ");
    const { status, stderr } = await client.run("sh", ["-c", words]);
    if (status !== 0) throw new Error(`client ${source}: expected a route, got ${stderr.trim()}`);
  }

  /** What did not end in order. */
  async close(): Promise<string[]> {
    const ends = await this.cluster.stop();
    await this.lab.close();
    rmSync(this.#folder, { recursive: true, force: true });
    return ends;
  }
}

/**
 * A client that closes first keeps its port for a minute: 28,000 ports to one service address are 470
 * connections a second, whatever a balancer can do. With timestamps a port may be used again after a second; and
 * there are more of them.
 */
async function reusePorts(client: LabNode): Promise<void> {
  const path = "/proc/sys/net/ipv4";
  const words = `echo 1 > ${path}/tcp_tw_reuse && echo 1024 65535 > ${path}/ip_local_port_range`;
  const { status, stderr } = await client.run("sh", ["-c", words]);
  if (status !== 0) throw new Error(`${path}: expected to write ports, got ${stderr.trim()}`);
}

async function start(
  name: SystemName,
  lab: OwnLab,
  cluster: Cluster,
  folder: string,
): Promise<System | Skip> {
  const at = (node: string): string => lab.node(node).address.address4;
  const service = { address: lab.plan.service4, port: SERVICE_PORT };
  const forwarder = pidOf(cluster.forwarder.child);
  const origin = `${at(UPSTREAM_NODE)}:${ORIGIN_PORT}`;
  switch (name) {
    case "direct":
      return made(name, { address: at(UPSTREAM_NODE), port: ORIGIN_PORT, host: "direct" });
    case "direct-node":
      return made(name, { address: at(LIBRARY_NODE), port: ORIGIN_PORT, host: "direct" });
    case "baton-upstream":
      return made(name, { ...service, host: "upstream" }, forwarder);
    case "baton-library":
      return made(name, { ...service, host: "library" }, forwarder);
    default: {
      const port = PROXY_PORTS[name];
      const program = name === "nginx" ? "nginx" : "haproxy";
      if (findProgram(program) === undefined)
        return { name, reason: `${program} is not installed` };
      const node = lab.node(PROXY_NODE);
      const child =
        name === "nginx"
          ? await startNginx(node, folder, "proxy", (place) =>
              nginxProxyConfig(place, port, origin),
            )
          : await startHaproxy(node, folder, name, port, origin);
      return made(name, { address: at(PROXY_NODE), port, host: name }, pidOf(child));
    }
  }
}

function made(name: SystemName, target: Target, balancer?: number): System {
  return { name, target, balancer };
}

async function startNginx(
  node: LabNode,
  folder: string,
  name: string,
  config: (place: { folder: string; name: string }, files: string) => string,
): Promise<ChildProcess> {
  const files = join(folder, "files");
  mkdirSync(files, { recursive: true });
  for (const [file, bytes] of Object.entries(FILES)) {
    const path = join(files, file);
    if (!existsSync(path)) writeFileSync(path, "");
    truncateSync(path, bytes); // Holes: the page cache has them after the first reading.
  }
  const path = join(folder, `${name}.conf`);
  writeFileSync(path, config({ folder, name }, files));
  return running(node, "nginx", ["-e", "stderr", "-c", path]);
}

async function startHaproxy(
  node: LabNode,
  folder: string,
  name: "haproxy" | "haproxy-splice",
  port: number,
  origin: string,
): Promise<ChildProcess> {
  const path = join(folder, `${name}.cfg`);
  writeFileSync(path, haproxyConfig(name === "haproxy" ? "http" : "tcp", port, origin));
  return running(node, "haproxy", ["-db", "-f", path]);
}

/** Started; fails with what the program says when it ends at once. */
async function running(
  node: LabNode,
  tool: string,
  args: readonly string[],
): Promise<ChildProcess> {
  const child = node.exec(tool, args, { detached: true });
  let said = "";
  child.stderr?.on("data", (text: Buffer) => (said = (said + text.toString()).slice(-4096)));
  child.stdout?.resume();
  await wait(300);
  if (child.exitCode !== null) throw new Error(`${tool}: ${said.trim() || "ended at once"}`);
  return child;
}

/** The process inside the lab. */
export function pidOf(child: ChildProcess): number {
  const pid = child.pid === undefined ? undefined : childOf(child.pid);
  if (pid === undefined) throw new Error("a process of the lab is gone");
  return pid;
}

/** Baton's nodes introduce themselves to each other first; others need a moment too. */
export async function untilAnswered(client: LabNode, name: string, target: Target): Promise<void> {
  const url = `http://${target.address}:${target.port}/128`;
  const words = [
    "-s",
    "-o",
    "/dev/null",
    "-m",
    "1",
    "-w",
    "%{http_code}",
    "-H",
    `Host: ${target.host}`,
  ];
  for (let tries = 1; tries <= START_TRIES; tries += 1) {
    const { stdout } = await client.run("curl", [...words, url]);
    if (stdout === "200") return;
    await wait(50);
  }
  throw new Error(`${name}: expected an answer, got none`);
}
