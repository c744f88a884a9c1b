/**
 * Which nodes are alive, from what is heard of them (DESIGN section 8, PROTOCOL R14). Knows heartbeats
 * and silence; must not know flows. Sans-IO.
 */
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Clock } from "./environment.ts";

export const HEARTBEAT_US = 250_000;
/** Missed heartbeats after which a node gets no new connections. */
const SUSPECT_AFTER_US = 3 * HEARTBEAT_US;
/** Silence after which a node's boot epoch is declared dead. */
const DEAD_AFTER_US = 5_000_000;

export type NodeState =
  /** Never heard in this life of ours. */
  | "unknown"
  | "alive"
  | "suspect"
  /** Declared dead; only a new boot epoch brings it back. */
  | "dead";

interface Entry {
  state: NodeState;
  epoch: Epoch | undefined;
  heardUs: number;
}

export interface HealthEvents {
  changed(node: NodeId, state: NodeState): void;
  /** The epoch is over for good: the caller resets its clients (R20). */
  dead(node: NodeId, epoch: Epoch): void;
}

export class Health {
  readonly #nodes = new Map<NodeId, Entry>();
  readonly #clock: Clock;
  readonly #events: HealthEvents;

  constructor(clock: Clock, events: HealthEvents) {
    this.#clock = clock;
    this.#events = events;
  }

  add(node: NodeId): void {
    this.#nodes.set(node, { state: "unknown", epoch: undefined, heardUs: 0 });
  }

  state(node: NodeId): NodeState {
    return this.#nodes.get(node)?.state ?? "unknown";
  }

  /** A heartbeat, or any message, of `epoch`. False: of a dead epoch, to be answered with DEAD. */
  heard(node: NodeId, epoch: Epoch): boolean {
    const entry = this.#nodes.get(node);
    if (!entry) return false;
    if (entry.state === "dead" && entry.epoch === epoch) return false;
    if (entry.epoch !== undefined && entry.epoch !== epoch) this.#over(node, entry);
    entry.epoch = epoch;
    entry.heardUs = this.#clock.nowUs();
    this.#become(node, entry, "alive");
    return true;
  }

  /** Its kernel says that nobody listens there: dead at once when it is silent as well. */
  unreachable(node: NodeId): void {
    const entry = this.#nodes.get(node);
    if (!entry || entry.state === "unknown" || entry.state === "dead") return;
    if (this.#clock.nowUs() - entry.heardUs < SUSPECT_AFTER_US) return;
    this.#over(node, entry);
    this.#become(node, entry, "dead");
  }

  nextTimeoutUs(): number {
    let next = Infinity;
    for (const entry of this.#nodes.values()) {
      if (entry.state === "alive") next = Math.min(next, entry.heardUs + SUSPECT_AFTER_US);
      if (entry.state === "suspect") next = Math.min(next, entry.heardUs + DEAD_AFTER_US);
    }
    return next;
  }

  handleTimeout(): void {
    const now = this.#clock.nowUs();
    for (const [node, entry] of this.#nodes) {
      if (entry.state === "alive" && now >= entry.heardUs + SUSPECT_AFTER_US) {
        this.#become(node, entry, "suspect");
      }
      if (entry.state === "suspect" && now >= entry.heardUs + DEAD_AFTER_US) {
        this.#over(node, entry);
        this.#become(node, entry, "dead");
      }
    }
  }

  #over(node: NodeId, entry: Entry): void {
    if (entry.state !== "dead" && entry.epoch !== undefined) this.#events.dead(node, entry.epoch);
  }

  #become(node: NodeId, entry: Entry, state: NodeState): void {
    if (entry.state === state) return;
    entry.state = state;
    this.#events.changed(node, state);
  }
}
