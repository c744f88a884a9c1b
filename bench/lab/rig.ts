/**
 * The lab of the benchmark: one client, further ones behind bad paths, a forwarder, and a backend for each
 * way to serve a connection. Knows how to start processes and what CPU time they took; must not know what
 * is measured.
 *
 *   kernel    the kernel's own server on b1, reached directly: the same routes as Baton's answers take
 *   core      Baton's stack on b1, the application on the bare connection
 *   library   Baton's stack on b2, a net.Server attached
 *   upstream  `baton backend --upstream` on b3, the kernel's server behind it
 */
import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Cluster } from "../../host/lab/cluster.ts";
import { openLab, type LabNode, type OwnLab } from "../../host/lab/lab.ts";
import { childOf } from "../../host/lab/process.ts";
import type { FlowOptions, FlowResult } from "./flow.ts";
import type { Direction } from "./talk.ts";

export const CORE_NODE = "b1";
export const LIBRARY_NODE = "b2";
export const UPSTREAM_NODE = "b3";
export const NODES = { core: CORE_NODE, library: LIBRARY_NODE, upstream: UPSTREAM_NODE } as const;

export type Stack = "kernel" | keyof typeof NODES;

const ORIGIN_PORT = 8081;
const SERVICE_PORT = 80;
const WARM_TRIES = 100;
const TICKS_PER_SECOND = 100;

/** CPU seconds of a process, by its role. */
export type Cpu = Readonly<Record<string, number>>;

export interface Measured extends FlowResult {
  readonly stack: Stack | "rival";
  readonly direction: Direction;
  readonly cpu: Cpu;
  /** Flows of one round shared a link. */
  readonly round?: number;
}

export type FlowWish = Omit<FlowOptions, "address" | "port" | "host"> & { readonly stack: Stack };

export class Rig {
  readonly lab: OwnLab;
  readonly #cluster: Cluster;
  readonly #origins: ReadonlyMap<string, number>;

  private constructor(lab: OwnLab, cluster: Cluster, origins: ReadonlyMap<string, number>) {
    this.lab = lab;
    this.#cluster = cluster;
    this.#origins = origins;
  }

  /** Ready to be measured. `clients`: how many besides "client"; k1, k2, ... (c1 would be a classifier) */
  static async open(clients: number): Promise<Rig> {
    const more = Array.from({ length: clients }, (_, index) => `k${index + 1}`);
    const lab = await openLab({ backends: Object.keys(NODES).length, more, needTun: true });
    try {
      await lab.offload(true);
      const origins = new Map<string, number>();
      for (const name of [CORE_NODE, UPSTREAM_NODE]) {
        origins.set(name, await startOrigin(lab.node(name)));
      }
      const script = fileURLToPath(new URL("./application.js", import.meta.url));
      const cluster = new Cluster(lab, {
        services: [`${lab.plan.service4}:${SERVICE_PORT}`],
        routes: Object.entries(NODES).map(([host, node]) => `host=${host} -> ${node}`),
        upstream: `127.0.0.1:${ORIGIN_PORT}`,
        scripts: { [CORE_NODE]: script, [LIBRARY_NODE]: script },
      });
      await cluster.ready();
      const rig = new Rig(lab, cluster, origins);
      await rig.#warmUp();
      return rig;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#cluster.stop();
    await this.lab.close();
  }

  /** One connection from `client`, and what every process of its way took. */
  async flow(client: string, wish: FlowWish): Promise<Measured> {
    const before = this.#cpu(wish.stack);
    const result = await this.#run(client, wish);
    const after = this.#cpu(wish.stack);
    const cpu = Object.entries(after).map(([role, seconds]) => [role, seconds - before[role]!]);
    return {
      ...result,
      stack: wish.stack,
      direction: wish.direction,
      cpu: Object.fromEntries(cpu) as Cpu,
    };
  }

  async #run(client: string, { stack, ...wish }: FlowWish): Promise<FlowResult> {
    const { plan } = this.lab;
    const isKernel = stack === "kernel";
    const address = isKernel ? this.lab.node(CORE_NODE).address.address4 : plan.service4;
    const port = isKernel ? ORIGIN_PORT : SERVICE_PORT;
    const options: FlowOptions = { ...wish, address, port, host: stack };
    const script = fileURLToPath(new URL("./flow.js", import.meta.url));
    const words = ["--enable-source-maps", script, JSON.stringify(options)];
    const timeoutMs = wish.warmMs + wish.runMs + 20_000;
    const ran = await this.lab.node(client).run(process.execPath, words, { timeoutMs });
    if (ran.status !== 0) throw new Error(`${stack} ${wish.direction}: ${ran.stderr.trim()}`);
    return JSON.parse(ran.stdout) as FlowResult;
  }

  /** Nodes introduce themselves to each other first; until then a connection gets an error page. */
  async #warmUp(): Promise<void> {
    for (const stack of Object.keys(NODES) as Stack[]) {
      for (let tries = 1; ; tries += 1) {
        try {
          await this.#run("client", {
            stack,
            direction: "down",
            cubic: false,
            warmMs: 0,
            runMs: 50,
          });
          break;
        } catch (error) {
          if (tries === WARM_TRIES) throw error;
          await wait(50);
        }
      }
    }
  }

  #cpu(stack: Stack): Record<string, number> {
    const origin = (node: string): number => cpuSeconds(this.#origins.get(node));
    if (stack === "kernel") return { server: origin(CORE_NODE) };
    const node = NODES[stack];
    const inside = (pid: number | undefined): number =>
      cpuSeconds(pid === undefined ? undefined : childOf(pid));
    return {
      forwarder: inside(this.#cluster.forwarder.child.pid),
      server: inside(this.#cluster.backends.get(node)?.child.pid),
      ...(stack === "upstream" ? { origin: origin(UPSTREAM_NODE) } : {}),
    };
  }
}

/** The process inside the lab. */
async function startOrigin(node: LabNode): Promise<number> {
  const script = fileURLToPath(new URL("./origin.js", import.meta.url));
  const child = node.exec(process.execPath, [script, String(ORIGIN_PORT)]);
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.stderr?.once("data", (text: Buffer) => reject(new Error(text.toString())));
    child.once("close", () => reject(new Error("the server ended")));
  });
  return childOf(child.pid ?? 0) ?? 0;
}

/** User and system time so far: proc_pid_stat(5). */
function cpuSeconds(pid: number | undefined): number {
  if (pid === undefined) return NaN;
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
