/**
 * Connections of a backend on their way to other nodes: from an application's wish to its outcome. Knows
 * the migrator and live connections; must not know why somebody wants a move, nor packets.
 */
import type { Core } from "../core/core.ts";
import { nodeId } from "../transport/create.ts";
import type { MoveOutcome, MoveRequest } from "./connection.ts";
import type { Cipher, Clock } from "./environment.ts";
import type { PeerIndexes } from "./indexes.ts";
import type { LiveConnection } from "./live.ts";
import { CLASSIFIERS, NO_POOL } from "./messages.ts";
import type { Migrator } from "./migrator.ts";
import type { MigrationOutcome, Target } from "./outgoing.ts";
import { CoreStack } from "./stack.ts";

export interface MovesWorld {
  readonly core: Core;
  readonly cipher: Cipher;
  readonly migrator: Migrator;
  /** Undefined: its application has nothing of it any more, or it was given away. */
  live(handle: number): LiveConnection | undefined;
  /** Which node's name a forwarder's index stands for, and under which flow it knows the connection. */
  readonly peers: PeerIndexes;
  /** It lives on elsewhere, or its outcome is unknown: it is no connection of this node any more. */
  gone(live: LiveConnection, outcome: MoveOutcome): void;
  /** A turn is due: an outcome waits for `pump`. */
  readonly wake: () => void;
}

export class Moves {
  readonly counters = { asked: 0, moved: 0, kept: 0, lost: 0, ended: 0 };
  readonly #world: MovesWorld;
  readonly #moving = new Set<LiveConnection>();
  #told: (() => void)[] = [];

  constructor(world: MovesWorld) {
    this.#world = world;
  }

  get size(): number {
    return this.#moving.size;
  }

  isMoving(live: LiveConnection): boolean {
    return this.#moving.has(live);
  }

  start(live: LiveConnection, request: MoveRequest): void {
    const { core, migrator, peers } = this.#world;
    this.counters.asked++;
    const isHere = this.#world.live(live.handle) === live && core.isConnection(live.handle);
    if (!isHere) return this.#answer(request, { kind: "ended" });
    if (this.#moving.has(live)) return this.#keep(request, "it is moving already");
    const candidates = this.#candidates(live, request);
    if (candidates.length === 0) return this.#keep(request, "it belongs to no pool");
    const forwarder = peers.nodeOf(core.connectionOwner(live.handle).ownerPeer);
    if (forwarder === undefined) return this.#keep(request, "no forwarder knows it");
    const ready = (): Uint8Array | undefined => {
      // It has let go meanwhile: what is left is for this stack to send.
      if (this.#world.live(live.handle) !== live) return undefined;
      const answer = request.ready();
      if (answer.kind !== "ready") reason = answer.reason;
      return answer.kind === "ready" ? answer.state : undefined;
    };
    let reason: string | undefined;
    const done = (outcome: MigrationOutcome): void =>
      this.#settle(live, request, resultOf(outcome, reason));
    const { pool, routing } = live.baggage;
    const how = { pool, routing, ready };
    if (migrator.migrate(live.handle, forwarder, candidates, done, how)) this.#moving.add(live);
    else this.#keep(request, "too many are on their way");
  }

  /** Outcomes that were known at once; part of the node's turn. */
  pump(): void {
    for (const tell of this.#told.splice(0)) tell();
  }

  #candidates(live: LiveConnection, { target, reroute }: MoveRequest): Target[] {
    const { pool } = live.baggage;
    if (reroute) return [{ kind: "pool", id: CLASSIFIERS }];
    if (target !== undefined) return [{ kind: "node", id: nodeId(this.#world.cipher, target) }];
    return pool === NO_POOL ? [] : [{ kind: "pool", id: pool }];
  }

  #settle(live: LiveConnection, request: MoveRequest, outcome: MoveOutcome): void {
    this.#moving.delete(live);
    if (outcome.kind === "moved" || outcome.kind === "lost") {
      live.settle(outcome);
      this.#world.gone(live, outcome);
    }
    this.#tell(request, outcome);
  }

  #keep(request: MoveRequest, reason: string): void {
    this.#answer(request, { kind: "kept", reason });
  }

  #answer(request: MoveRequest, outcome: MoveOutcome): void {
    this.#told.push(() => this.#tell(request, outcome));
    this.#world.wake();
  }

  #tell(request: MoveRequest, outcome: MoveOutcome): void {
    this.counters[outcome.kind]++;
    request.done(outcome);
  }
}

function resultOf(outcome: MigrationOutcome, reason: string | undefined): MoveOutcome {
  if (outcome.kind === "moved") return { kind: "moved", node: outcome.target };
  if (outcome.kind !== "unavailable") return { kind: outcome.kind };
  return { kind: "kept", reason: reason ?? outcome.reason };
}

/** The core as the migrator of a backend sees it: live connections hear when they stand still. */
export class LiveStack extends CoreStack {
  constructor(
    core: Core,
    clock: Clock,
    peers: PeerIndexes,
    private readonly live: (handle: number) => LiveConnection | undefined,
  ) {
    super(core, clock, peers);
  }

  override freeze(connection: number): boolean {
    const isFrozen = super.freeze(connection);
    if (isFrozen) this.live(connection)?.freeze();
    return isFrozen;
  }

  override thaw(connection: number): void {
    super.thaw(connection);
    this.live(connection)?.thaw();
  }
}
