/**
 * Resetting clients whose owner is gone, and the tombstones that hold their 4-tuples until no stack can
 * emit for them any more (PROTOCOL section 5 rows TOMB, R9, R16, R20, R23). Knows when a round of RST and
 * probe is due; the packets are the core's.
 *
 * A migration that ended without an answer has a tombstone object of its own. The connections of a node that
 * died are tombstones in the core's table only; one `Wave` walks over them, in bounded steps.
 */
import type { Tuple } from "../core/tuple.ts";
import { tupleKey } from "../core/tuple.ts";
import type { NodeId } from "../transport/transport.ts";
import type { Book, Tomb } from "./book.ts";
import type { FlowId, ResetData } from "./messages.ts";
import { NO_FLOW } from "./messages.ts";
import type { Owner } from "./peers.ts";

export const RESET_ROUNDS = 5;
const RESET_FIRST_US = 200_000;
/** What one step of a wave looks at: empty places of the mapping table cost next to nothing. */
const STEP_PLACES = 131_072;
/** Clients that it resets: the core queues 1,024 resets in a turn, and others want some too. */
const STEP_CLIENTS = 512;
const STEP_PAUSE_US = 1000;

/** When round `round` (0, 1, ...) is over and the next one begins. */
function roundUs(round: number): number {
  return RESET_FIRST_US * 2 ** round;
}

interface Wave {
  readonly node: NodeId;
  round: number;
  roundStartUs: number;
  cursor: number;
  /** Tombstones removed in the running pass. */
  removed: number;
  /** The node has come back with a new boot epoch: nobody can emit. */
  isConfirmed: boolean;
  readonly untilUs: number;
  nextUs: number;
}

export class Tombs {
  private readonly waves = new Map<NodeId, Wave>();

  constructor(private readonly book: Book) {}

  /** Resets the client and holds its 4-tuple until every flow in `unconfirmed` is over. */
  bury(
    tuple: Tuple,
    unconfirmed: readonly Owner[],
    flows: readonly FlowId[],
    reset: ResetData | undefined,
  ): void {
    const nowUs = this.book.world.clock.nowUs();
    const tomb: Tomb = {
      state: "tomb",
      key: tupleKey(tuple),
      tuple,
      unconfirmed: unconfirmed.filter((owner) => !this.book.peers.isOver(owner)),
      flows: flows.filter((flow) => flow !== NO_FLOW),
      reset,
      round: 0,
      untilUs: nowUs + this.book.timers.tombUs,
      deadlineUs: Infinity,
    };
    const mapping = { action: "tomb", node: this.book.self, flow: NO_FLOW } as const;
    if (!this.book.world.table.set(tuple, mapping)) this.book.count("tombs-unmapped");
    this.book.entries.set(tomb.key, tomb);
    for (const flow of tomb.flows) this.book.byFlow.set(flow, tomb);
    this.book.count("tombs");
    this.handleDue(tomb);
  }

  /** One flow of a tombstone can emit nothing more: FORGOTTEN, REFUSE, GONE or RELEASE said so. */
  confirm(tomb: Tomb, node: NodeId, flow: FlowId): void {
    tomb.unconfirmed = tomb.unconfirmed.filter(
      (owner) => owner.node !== node || owner.flow !== flow,
    );
    this.removeIfOver(tomb);
  }

  /** A node has a new boot epoch: everything its earlier ones held is gone. */
  confirmNode(node: NodeId): void {
    for (const entry of [...this.book.entries.values()]) {
      if (entry.state !== "tomb") continue;
      entry.unconfirmed = entry.unconfirmed.filter((owner) => !this.book.peers.isOver(owner));
      this.removeIfOver(entry);
    }
    const wave = this.waves.get(node);
    if (!wave) return;
    wave.isConfirmed = true;
    // Its tombstones may have waited for T_TOMB: they need not any more.
    if (wave.round >= RESET_ROUNDS) {
      wave.nextUs = Math.min(wave.nextUs, this.book.world.clock.nowUs());
    }
  }

  /** Every connection of a node is lost: its clients are told at once, idle ones too. */
  nodeLost(node: NodeId, isConfirmed: boolean): void {
    const lost = this.book.world.table.tombAll(node);
    if (lost === 0) return;
    this.book.counters["clients-reset"] = (this.book.counters["clients-reset"] ?? 0) + lost;
    const nowUs = this.book.world.clock.nowUs();
    this.waves.set(node, {
      node,
      round: 0,
      roundStartUs: nowUs,
      cursor: 0,
      removed: 0,
      isConfirmed,
      untilUs: nowUs + this.book.timers.tombUs,
      nextUs: nowUs,
    });
  }

  /** The next round of a tombstone, or its end. */
  handleDue(tomb: Tomb): void {
    const nowUs = this.book.world.clock.nowUs();
    if (tomb.round < RESET_ROUNDS) {
      this.book.world.table.resetClient(tomb.tuple, tomb.reset);
      this.book.deadlines.set(tomb, nowUs + roundUs(tomb.round++));
      return;
    }
    if (nowUs >= tomb.untilUs) tomb.unconfirmed = [];
    this.removeIfOver(tomb);
    if (tomb.unconfirmed.length > 0) this.book.deadlines.set(tomb, tomb.untilUs);
  }

  nextTimeoutUs(): number {
    let next = Infinity;
    for (const wave of this.waves.values()) next = Math.min(next, wave.nextUs);
    return next;
  }

  handleTimeout(): void {
    const nowUs = this.book.world.clock.nowUs();
    for (const wave of this.waves.values()) if (wave.nextUs <= nowUs) this.step(wave, nowUs);
  }

  private removeIfOver(tomb: Tomb): void {
    if (tomb.unconfirmed.length > 0 || tomb.round < RESET_ROUNDS) return;
    if (tomb.deadlineUs !== Infinity && tomb.deadlineUs < tomb.untilUs) return;
    this.book.remove(tomb);
    this.book.world.table.delete(tomb.tuple);
    for (const flow of tomb.flows) this.book.rest(flow);
  }

  /** Some places further: in the first rounds reset clients, in the last pass remove their tombstones. */
  private step(wave: Wave, nowUs: number): void {
    const isRemoving = wave.round >= RESET_ROUNDS;
    if (isRemoving && !wave.isConfirmed && nowUs < wave.untilUs) {
      wave.nextUs = wave.untilUs;
      return;
    }
    const found: { tuple: Tuple; flow: FlowId }[] = [];
    const table = this.book.world.table;
    wave.cursor = table.scan(wave.cursor, STEP_PLACES, (tuple, mapping) => {
      const isOurs = mapping.action === "tomb" && mapping.node === wave.node;
      if (isOurs && !this.book.entries.has(tupleKey(tuple)))
        found.push({ tuple, flow: mapping.flow });
      return found.length < STEP_CLIENTS;
    });
    for (const { tuple, flow } of found) {
      if (!isRemoving) table.resetClient(tuple, undefined);
      else {
        table.delete(tuple);
        this.book.rest(flow);
        wave.removed++;
      }
    }
    if (wave.cursor !== 0) wave.nextUs = nowUs + STEP_PAUSE_US;
    else if (isRemoving && wave.removed === 0) this.waves.delete(wave.node);
    else if (isRemoving) {
      // A table may move entries when others go, so a pass counts only if it finds nothing.
      wave.removed = 0;
      wave.nextUs = nowUs + STEP_PAUSE_US;
    } else {
      wave.nextUs = Math.max(nowUs, wave.roundStartUs + roundUs(wave.round++));
      wave.roundStartUs = wave.nextUs;
    }
  }
}
