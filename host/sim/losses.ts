/**
 * What the end of a node means for clients: who may be reset now, and who may never be told (PROTOCOL section 10).
 * Knows which connections a node may have; must not know packets.
 */
import type { Forwarder } from "../node/forwarder.ts";
import type { Cluster } from "./cluster.ts";
import type { Doubts } from "./doubt.ts";
import type { Moves } from "./moves.ts";
import type { SimNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Trouble } from "./trouble.ts";
import type { Visitor } from "./visitor.ts";

/** A client whom nobody may tell waits this long, and leaves. */
export const GIVE_UP_US = 40_000_000;

export interface LossesOptions {
  readonly cluster: Cluster;
  readonly oracle: Oracle;
  readonly moves: Moves;
  readonly doubts: Doubts;
  readonly trouble: Trouble;
  readonly visitors: readonly Visitor[];
}

export class Losses {
  readonly #options: LossesOptions;
  /** Places whose packets are cut, and until when. */
  readonly #deaf = new Map<string, number>();

  constructor(options: LossesOptions) {
    this.#options = options;
  }

  backend(backend: string, cause: string): void {
    const { oracle, visitors } = this.#options;
    oracle.nodeLost(backend, `${backend}: ${cause}`);
    for (const visitor of visitors) {
      if (!this.#mayHave(backend, visitor)) continue;
      oracle.allowReset(visitor.address, visitor.port, `${backend}: ${cause}`);
      // A forwarder that is not there, or that begins with empty tables, cannot tell the client.
      const { isUp, role } = this.#forwarderOf(visitor);
      if (!isUp || role.judge.isRecovering) visitor.giveUpAfter(GIVE_UP_US);
    }
  }

  /** Whoever waits in silence for an answer of it is told by nobody. */
  classifier(name: string, cause: string): void {
    const { oracle, visitors } = this.#options;
    const keys = new Set(oracle.classifierLost(name, cause));
    for (const visitor of visitors) {
      if (keys.has(`${visitor.address} ${visitor.port}`)) visitor.giveUpAfter(GIVE_UP_US);
    }
  }

  forwarder(forwarder: string): void {
    const { cluster, oracle, trouble, visitors } = this.#options;
    const keys = new Set(oracle.forwarderLost(forwarder));
    for (const visitor of visitors) {
      const { address, port } = visitor;
      if (cluster.forwarderOf(address, port) !== forwarder) continue;
      // A node that gives its connections up later cannot tell a forwarder that knows nothing of them.
      const isLost = cluster.backends.some(({ name }) => {
        const hasIt = this.#mayHave(name, visitor);
        return hasIt && (trouble.isUnknown(name) || trouble.maySeemDead(name));
      });
      if (keys.has(`${address} ${port}`) || isLost) visitor.giveUpAfter(GIVE_UP_US);
    }
  }

  /** Nothing passes from this place, or to it, for so long. */
  cut(place: string, forUs: number): void {
    const untilUs = this.#options.cluster.scheduler.nowUs() + forUs;
    this.#deaf.set(place, Math.max(untilUs, this.#deaf.get(place) ?? 0));
  }

  /** Something that was sent to this place, or from it, was late at least. */
  wasCut(place: string): boolean {
    return this.#deaf.has(place);
  }

  /** What is sent to this place is lost, as long as it is cut. */
  isDeaf(place: string): boolean {
    return this.#options.cluster.scheduler.nowUs() < (this.#deaf.get(place) ?? 0);
  }

  /** A RST to this place was lost with the others of its rounds: R20 ends after a few seconds. */
  untold(place: string): void {
    for (const visitor of this.#options.visitors) {
      if (visitor.place === place) visitor.giveUpAfter(GIVE_UP_US);
    }
  }

  #forwarderOf({ address, port }: Visitor): SimNode<Forwarder> {
    const { cluster } = this.#options;
    const name = cluster.forwarderOf(address, port);
    return cluster.forwarders.find((each) => each.name === name) ?? cluster.forwarder;
  }

  /** It has it, is about to give it away, or may be given it at any moment. */
  #mayHave(backend: string, visitor: Visitor): boolean {
    const { address, port } = visitor;
    const { moves, doubts } = this.#options;
    const at = moves.whereIs(address, port);
    const isNext = visitor.backend === backend && at === undefined;
    return isNext || at === backend || doubts.isBetween(address, port, backend);
  }
}
