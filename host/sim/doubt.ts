/**
 * Handoffs of which the forwarder may not learn how they end (I3: unknown outcome), the only ones that may cost a
 * client its connection though every node lives. Knows since when each connection is frozen and where it goes;
 * must not know packets, nor what the forwarder made of it.
 *
 * The causes: T_MOVE and T_RESOLVE have passed since the freeze (PROTOCOL section 5), a forwarder that knows nothing
 * of it has begun since (section 7), its source has, or the forwarder may hold one of its two ends for dead (R11, R14).
 */
import { formatAddress } from "../core/address.ts";
import type { Outgoing } from "../node/outgoing.ts";
import type { Epoch, NodeId } from "../transport/transport.ts";
import { TIMERS } from "../node/timers.ts";
import type { Cluster } from "./cluster.ts";
import type { Trouble } from "./trouble.ts";

/** Clocks of nodes differ, by a few milliseconds in so short a time. */
const SLACK_US = 20_000;
const PATIENCE_US = TIMERS.moveUs + TIMERS.resolveUs - SLACK_US;

interface Freeze {
  readonly flow: number;
  readonly source: string;
  readonly target: string;
  readonly sinceUs: number;
  readonly forwarder: string;
  /** The forwarder's life then, and its source's. */
  readonly life: number;
  readonly sourceLife: number;
  /** The life of its target that the grant names. */
  readonly targetEpoch: Epoch;
  isOver: boolean;
}

export class Doubts {
  /** By client address and port: the latest of each. */
  readonly #freezes = new Map<string, Freeze>();
  /** How many that are not over each node has. */
  readonly #counts = new Map<string, number>();
  readonly #names = new Map<NodeId, string>();

  constructor(
    private readonly cluster: Cluster,
    private readonly trouble: Trouble,
  ) {
    const { forwarders, classifiers, backends } = cluster;
    for (const { id, name } of [...forwarders, ...classifiers, ...backends]) {
      this.#names.set(id, name);
    }
  }

  /** What this node has frozen since, and what not any more. To be called after each of its turns. */
  afterTurn(source: string): void {
    const { outgoing } = this.cluster.node(source).role.migrator;
    if (outgoing.size === 0 && !this.#counts.get(source)) return;
    const frozen = new Map<string, number>();
    for (const each of outgoing.values()) {
      if (each.state === "waiting") continue;
      const { tuple, flow } = each;
      const key = `${formatAddress(tuple.remote)} ${tuple.remotePort}`;
      frozen.set(key, flow);
      if (this.#freezes.get(key)?.flow !== flow) this.#begin(key, source, each);
    }
    for (const [key, freeze] of this.#freezes) {
      if (freeze.source !== source || freeze.isOver || frozen.get(key) === freeze.flow) continue;
      freeze.isOver = true;
      // What has lasted so long was given up without a word, or its verdict is on its way still.
      if (!this.#isLate(freeze)) this.#freezes.delete(key);
    }
    this.#counts.set(source, frozen.size);
  }

  /** It is on its way between these two, and neither may have it for good. */
  isBetween(address: string, port: number, node: string): boolean {
    const freeze = this.#freezes.get(`${address} ${port}`);
    return freeze?.isOver === false && (freeze.source === node || freeze.target === node);
  }

  /** Its last handoff may have an outcome that nobody knows. */
  isUnknown(address: string, port: number): boolean {
    const freeze = this.#freezes.get(`${address} ${port}`);
    if (!freeze) return false;
    return this.#isLate(freeze) || this.#mayBeDead(freeze.source) || this.#mayBeDead(freeze.target);
  }

  #begin(key: string, source: string, outgoing: Outgoing): void {
    const { flow, targetEpoch } = outgoing;
    const nameOf = (id: NodeId): string => this.#names.get(id) ?? id;
    const [target, forwarder] = [nameOf(outgoing.target), nameOf(outgoing.forwarder)];
    const sinceUs = this.cluster.scheduler.nowUs();
    const [life, sourceLife] = [this.cluster.life(forwarder), this.cluster.life(source)];
    const ends = { source, target, forwarder, sourceLife, targetEpoch };
    this.#freezes.set(key, { flow, ...ends, sinceUs, life, isOver: false });
  }

  /** Its source may also have died with it, and what its target said may be lost. */
  #isLate(freeze: Freeze): boolean {
    const { sinceUs, forwarder, life, source, sourceLife, target, targetEpoch } = freeze;
    const isOld = this.cluster.scheduler.nowUs() - sinceUs >= PATIENCE_US;
    const isOrphan = sourceLife !== this.cluster.life(source);
    // A forwarder that stood still grants what has begun anew since, before it hears of that (R11).
    const isGone = this.cluster.node(target).transport.epoch !== targetEpoch;
    return isOld || isOrphan || isGone || life !== this.cluster.life(forwarder);
  }

  #mayBeDead(name: string): boolean {
    if (this.cluster.isForwarder(name)) return false; // Another life of it is a cause by itself.
    return this.trouble.maySeemDead(name) || this.trouble.isUnknown(name);
  }
}
