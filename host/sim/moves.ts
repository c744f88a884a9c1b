/**
 * Moves of connections from one backend to another in a run, at seeded moments. Knows which connections are on their
 * way and which nodes have to do with them; must not know packets nor what a reset means.
 */
import type { Connection } from "../node/connection.ts";
import type { LiveConnection } from "../node/live.ts";
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

export interface MoveEvents {
  /** A move away from `source` had an outcome that it does not know. */
  lost(address: string, port: number, source: string | undefined): void;
  moved(): void;
}

/** Moves of one connection, so that a run ends. */
const MOVES_MAX = 6;

interface Journey {
  /** Who was given it last; undefined: whoever accepted it. */
  at: string | undefined;
  moves: number;
  isMoving: boolean;
}

export class Moves {
  readonly #journeys = new Map<string, Journey>();

  constructor(
    private readonly scheduler: Scheduler,
    private readonly random: SeededRandom,
    /** In how many percent of all arrivals a move follows. */
    private readonly percent: number,
    private readonly backends: readonly string[],
    private readonly events: MoveEvents,
  ) {}

  /** A client's port begins anew. */
  begin(address: string, port: number): void {
    this.#journeys.delete(`${address} ${port}`);
  }

  /** A node was given it. */
  at(address: string, port: number, node: string): void {
    this.#journeyOf(address, port).at = node;
  }

  /** Who was given it last, as far as that is known. */
  whereIs(address: string, port: number): string | undefined {
    return this.#journeys.get(`${address} ${port}`)?.at;
  }

  /** A backend has a connection: some day it may give it away again. */
  arrived(backend: string, live: LiveConnection): void {
    const { address, port } = live.remote;
    const key = `${address} ${port}`;
    const journey = this.#journeyOf(address, port);
    journey.at = backend;
    if (this.percent === 0 || this.backends.length < 2) return;
    const random = this.random.child(key).child(journey.moves);
    if (journey.moves >= MOVES_MAX || !random.chance(this.percent)) return;
    journey.moves++;
    const afterUs = random.below(random.pick([1000, 20_000, 1_000_000, 5_000_000]));
    const target = random.pick(this.backends.filter((name) => name !== backend));
    this.scheduler.after(afterUs, () => this.#move(journey, live, target));
  }

  /** With its next request the connection goes to a classifier. */
  reroute(connection: Connection, ready: () => boolean, stays: (doesIt: boolean) => void): void {
    const { address, port } = connection.remote;
    const journey = this.#journeyOf(address, port);
    if (journey.isMoving) {
      this.scheduler.after(0, () => stays(true));
      return;
    }
    journey.isMoving = true;
    const source = journey.at;
    const state = new Uint8Array(0);
    connection.migrate({
      reroute: true,
      ready: () => (ready() ? { kind: "ready", state } : { kind: "busy", reason: "it went on" }),
      done: (outcome) => {
        journey.isMoving = false;
        if (outcome.kind === "moved") this.events.moved();
        if (outcome.kind === "lost") this.events.lost(address, port, source);
        stays(outcome.kind === "kept");
      },
    });
  }

  #journeyOf(address: string, port: number): Journey {
    const key = `${address} ${port}`;
    const journey = this.#journeys.get(key) ?? { at: undefined, moves: 0, isMoving: false };
    this.#journeys.set(key, journey);
    return journey;
  }

  #move(journey: Journey, live: LiveConnection, target: string): void {
    if (journey.isMoving) return;
    journey.isMoving = true;
    const source = journey.at;
    const { address, port } = live.remote;
    live.migrate({
      target,
      ready: () => live.readiness(),
      done: (outcome) => {
        journey.isMoving = false;
        if (outcome.kind === "moved") this.events.moved();
        if (outcome.kind === "kept") live.kept();
        if (outcome.kind === "lost") this.events.lost(address, port, source);
      },
    });
  }
}
