/**
 * The forwarder's path alone, by each link: single packets of connections that were handed over, from the client to
 * the forwarder's next hop, where they are counted and end (sink.ts). A lab for each link. Knows who is charged for
 * what; must not know rounds, medians or goals.
 */
import { fileURLToPath } from "node:url";
import { Cluster } from "../../host/lab/cluster.ts";
import { openLab, type OwnLab } from "../../host/lab/lab.ts";
import { BLAST, type BlastSays, type BlastWish } from "./blast.ts";
import { openDialog } from "./dialog.ts";
import { ORIGIN_PORT } from "./proxies.ts";
import { cpuSecondsOf, deferredSeconds } from "./processes.ts";
import { SINK, type SinkSays, type SinkWish } from "./sink.ts";
import { pidOf, untilAnswered } from "./systems.ts";

/** Of `--link`. */
export const LINKS = { tun: "tun:baton0", xdp: "xdp:eth0" } as const;
export type LinkName = keyof typeof LINKS;

export interface PacketSample {
  readonly sent: number;
  /** What came to the device behind the forwarder: each of them encapsulated, to the right node. */
  readonly forwarded: number;
  readonly seconds: number;
  /** Of the forwarder, and all that the kernel put off meanwhile, whoever caused it. */
  readonly cpuSeconds: number;
  /** Of the sender: its calls end in the forwarder's queue, the kernel's way to it included. */
  readonly senderSeconds: number;
}

const CONNECTIONS = 64;
const BACKEND = "b1";
const PORT = 80;
const HOST = "packets";

export class PacketLab {
  readonly link: LinkName;
  readonly #lab: OwnLab;
  readonly #cluster: Cluster;

  private constructor(link: LinkName, lab: OwnLab, cluster: Cluster) {
    this.link = link;
    this.#lab = lab;
    this.#cluster = cluster;
  }

  /** Rejects with a BatonError where this system cannot have the link. */
  static async open(link: LinkName): Promise<PacketLab> {
    const lab = await openLab({ backends: 1, needTun: true });
    try {
      await lab.offload(true);
      const cluster = new Cluster(lab, {
        services: [`${lab.plan.service4}:${PORT}`],
        routes: [`host=${HOST} -> ${BACKEND}`],
        upstream: `127.0.0.1:${ORIGIN_PORT}`, // nobody: the application is in the script
        scripts: { [BACKEND]: fileURLToPath(new URL("./server.js", import.meta.url)) },
        forwarderFlags: ["--quiet", "--link", LINKS[link]],
        backendFlags: ["--quiet"],
      });
      await cluster.ready();
      const target = { address: lab.plan.service4, port: PORT, host: HOST };
      await untilAnswered(lab.nodes.client, link, target);
      return new PacketLab(link, lab, cluster);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async measure(seconds: number): Promise<PacketSample> {
    const { client, router, forwarder } = this.#lab.nodes;
    const wish: BlastWish = {
      target: { address: this.#lab.plan.service4, port: PORT, host: HOST },
      ...{ source: client.address.address4, connections: CONNECTIONS, ms: seconds * 1000 },
    };
    const path: SinkWish = {
      device: forwarder.name,
      source: forwarder.address.tunnel4,
      destination: this.#lab.node(BACKEND).address.tunnel4,
    };
    const blast = await openDialog<BlastSays>(client, BLAST, wish);
    try {
      const sink = await openDialog<SinkSays>(router, SINK, path);
      try {
        const pid = pidOf(this.#cluster.forwarder.child);
        const spent = (): number => cpuSecondsOf(pid) + deferredSeconds();
        const { count: before } = await sink.ask();
        const start = spent();
        const { sent, seconds, cpuSeconds: senderSeconds } = await blast.ask();
        const cpuSeconds = spent() - start;
        const forwarded = (await sink.ask()).count - before;
        return { sent, forwarded, seconds, cpuSeconds, senderSeconds };
      } finally {
        await sink.close();
      }
    } finally {
      await blast.close();
    }
  }

  /** What did not end in order. */
  async close(): Promise<string[]> {
    const ends = await this.#cluster.stop();
    await this.#lab.close();
    return ends;
  }
}
