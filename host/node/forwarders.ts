/**
 * The forwarders of a node: their epochs, the lease, RELEASE in batches. Knows who was heard when; must not
 * know what a flow is used for. PROTOCOL section 2, R14.
 */
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { MigratorWorld } from "./migration.ts";
import type { ReleaseItem } from "./messages.ts";
import { ITEMS_MAX } from "./messages.ts";

/** How long a RELEASE waits for others. */
const RELEASE_DELAY_US = 2_000;

export interface Forwarder {
  readonly id: NodeId;
  epoch: Epoch | undefined;
  slice: number | undefined;
  heardUs: number;
  releases: ReleaseItem[];
  flushUs: number;
}

export class Forwarders {
  private readonly forwarders = new Map<NodeId, Forwarder>();

  constructor(
    private readonly world: MigratorWorld,
    private readonly leaseUs: number,
  ) {}

  add(id: NodeId): void {
    const state = { id, epoch: undefined, slice: undefined, heardUs: 0 };
    this.forwarders.set(id, { ...state, releases: [], flushUs: Infinity });
  }

  get(id: NodeId): Forwarder | undefined {
    return this.forwarders.get(id);
  }

  isCurrent(id: NodeId, epoch: Epoch): boolean {
    return this.forwarders.get(id)?.epoch === epoch;
  }

  /** A lease that has run out stays so: what was heard may have waited here while the node stood still. */
  heard(id: NodeId): void {
    const known = this.forwarders.get(id);
    if (known && !this.isExpired(known)) known.heardUs = this.world.clock.nowUs();
  }

  adopt(known: Forwarder, epoch: Epoch): void {
    if (!this.isExpired(known)) known.heardUs = this.world.clock.nowUs();
    known.epoch = epoch;
  }

  private isExpired(known: Forwarder): boolean {
    const nowUs = this.world.clock.nowUs();
    return known.epoch !== undefined && known.heardUs + this.leaseUs <= nowUs;
  }

  nextTimeoutUs(): number {
    let next = Infinity;
    for (const forwarder of this.forwarders.values()) {
      next = Math.min(next, forwarder.flushUs);
      if (forwarder.epoch !== undefined) next = Math.min(next, forwarder.heardUs + this.leaseUs);
    }
    return next;
  }

  /** Sends what waited. False: a forwarder was silent for T_LEASE. */
  handleTimeout(): boolean {
    const nowUs = this.world.clock.nowUs();
    for (const forwarder of this.forwarders.values()) {
      if (forwarder.flushUs <= nowUs) this.flush(forwarder);
      if (this.isExpired(forwarder)) return false;
    }
    return true;
  }

  release(forwarder: NodeId, item: ReleaseItem): void {
    const known = this.forwarders.get(forwarder);
    if (!known) return;
    known.releases.push(item);
    if (known.releases.length >= ITEMS_MAX) return this.flush(known);
    known.flushUs = Math.min(known.flushUs, this.world.clock.nowUs() + RELEASE_DELAY_US);
  }

  flush(forwarder: Forwarder): void {
    const items = forwarder.releases;
    forwarder.releases = [];
    forwarder.flushUs = Infinity;
    if (items.length > 0) this.world.send(forwarder.id, { type: "release", items });
  }
}
