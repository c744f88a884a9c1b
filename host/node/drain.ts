/**
 * Empties a backend: moves every connection that can be moved to other members of its pool, so many at once,
 * and looks again at those that are busy. Knows what applications say about their connections; must not know
 * who asked for it, nor packets.
 */
import type { MoveOutcome } from "./connection.ts";
import type { Clock } from "./environment.ts";
import type { LiveConnection } from "./live.ts";
import type { Moves } from "./moves.ts";

/** Moves under way at once; each stands still for a few milliseconds. */
const MOVING_MAX = 64;
/** A connection that nobody took, or whose application said no, is asked again after this time. */
const AGAIN_US = 200_000;
/** Different reasons that a report names; the rest is counted together. */
const REASONS_MAX = 8;

export interface Remaining {
  readonly reason: string;
  readonly count: number;
  /** Their application will never move them. */
  readonly isFinal: boolean;
}

export interface DrainState {
  readonly isOn: boolean;
  /** Connections that are here, those on their way included. */
  readonly open: number;
  readonly moving: number;
  /** Since it began. */
  readonly moved: number;
  readonly lost: number;
  /** Why the others are still here. */
  readonly remaining: readonly Remaining[];
}

export interface DrainWorld {
  readonly clock: Clock;
  readonly moves: Moves;
  connections(): Iterable<LiveConnection>;
  readonly wake: () => void;
}

export class Drain {
  readonly #world: DrainWorld;
  readonly #reasons = new Map<
    LiveConnection,
    { readonly reason: string; readonly isFinal: boolean }
  >();
  /** Could move, as soon as there is a place. */
  readonly #waiting = new Set<LiveConnection>();
  #isOn = false;
  #moving = 0;
  #moved = 0;
  #lost = 0;
  /** When all are asked once more. */
  #againUs = Infinity;

  constructor(world: DrainWorld) {
    this.#world = world;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  begin(): void {
    if (this.#isOn) return;
    this.#isOn = true;
    this.#moved = 0;
    this.#lost = 0;
    this.#againUs = 0;
    this.#world.wake();
  }

  /** What is under way comes to its end; nothing else leaves. */
  cancel(): void {
    this.#isOn = false;
    this.#againUs = Infinity;
    this.#reasons.clear();
    this.#waiting.clear();
  }

  /** Its application says that it could let go now. */
  offered(live: LiveConnection): void {
    if (this.#isOn) this.#ask(live);
  }

  nextTimeoutUs(): number {
    return this.#againUs;
  }

  handleTimeout(): void {
    const nowUs = this.#world.clock.nowUs();
    if (!this.#isOn || this.#againUs > nowUs) return;
    this.#againUs = nowUs + AGAIN_US;
    const here = new Set(this.#world.connections());
    for (const live of this.#reasons.keys()) if (!here.has(live)) this.#reasons.delete(live);
    for (const live of this.#waiting) if (!here.has(live)) this.#waiting.delete(live);
    for (const live of here) this.#ask(live);
  }

  state(): DrainState {
    const counts = new Map<string, Remaining>();
    let open = 0;
    for (const live of this.#world.connections()) {
      open++;
      const known = this.#reasons.get(live);
      if (!known) continue;
      const isNew = !counts.has(known.reason);
      const reason = isNew && counts.size >= REASONS_MAX ? "other reasons" : known.reason;
      const count = (counts.get(reason)?.count ?? 0) + 1;
      const isFinal = known.isFinal && (counts.get(reason)?.isFinal ?? true);
      counts.set(reason, { reason, count, isFinal });
    }
    const numbers = { open, moving: this.#moving, moved: this.#moved, lost: this.#lost };
    return { isOn: this.#isOn, ...numbers, remaining: [...counts.values()] };
  }

  #ask(live: LiveConnection): void {
    const { moves } = this.#world;
    if (moves.isMoving(live)) return;
    if (this.#moving >= MOVING_MAX) {
      this.#waiting.add(live);
      this.#reasons.set(live, { reason: "it waits for its turn", isFinal: false });
      return;
    }
    this.#waiting.delete(live);
    const answer = live.readiness();
    if (answer.kind !== "ready") {
      this.#reasons.set(live, { reason: answer.reason, isFinal: answer.kind === "never" });
      return;
    }
    this.#moving++;
    const done = (outcome: MoveOutcome): void => this.#settled(live, outcome);
    moves.start(live, { ready: () => live.readiness(), done });
  }

  #settled(live: LiveConnection, outcome: MoveOutcome): void {
    this.#moving--;
    if (outcome.kind === "moved") this.#moved++;
    if (outcome.kind === "lost") this.#lost++;
    if (outcome.kind === "kept") {
      this.#reasons.set(live, { reason: outcome.reason, isFinal: false });
    } else this.#reasons.delete(live);
    if (outcome.kind === "kept" || outcome.kind === "ended") live.kept();
    for (const next of this.#waiting) {
      if (this.#moving >= MOVING_MAX) break;
      this.#ask(next);
    }
  }
}
