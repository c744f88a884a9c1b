/**
 * From a classifier's decision to the verdict: candidates by name become targets, the outcome becomes an answer
 * and a report. Knows backends' names; must not know which forwarder judges, nor packets.
 */
import type { NodeId } from "../transport/transport.ts";
import { formatAddress } from "../core/address.ts";
import type { Tuple } from "../core/tuple.ts";
import type { RequestHead, RouteContext } from "../routing/route.ts";
import type { Classified, MoveOutcome } from "./classifier.ts";
import type { Clock } from "./environment.ts";
import type { Migrator } from "./migrator.ts";
import type { MigrationOutcome, Target } from "./outgoing.ts";

/** A node by the name that rules use. */
export interface NodeName {
  readonly name: string;
  readonly id: NodeId;
}

export interface Handoff {
  readonly request: Classified;
  readonly backend: string;
  readonly flow: number;
  readonly blobBytes: number;
  /** From the decision to the verdict. */
  readonly handoffUs: number;
}

export interface DispatchEvents {
  handedOff?(handoff: Handoff): void;
  /** A connection came back from a backend, for its next request. */
  cameBack?(tuple: Tuple): void;
  /** A connection that went to no backend, and why. */
  rejected?(tuple: Tuple, reason: string, head: RequestHead | undefined): void;
}

/** What is known of a backend's health. */
export interface Health {
  readonly usable: boolean;
  readonly mayReturn: boolean;
  readonly load: number;
}

export class Dispatch {
  readonly counters = { handedOff: 0, unavailable: 0, lost: 0 };
  readonly #targets: ReadonlyMap<string, Target>;
  readonly #names: ReadonlyMap<NodeId, string>;

  constructor(
    backends: readonly NodeName[],
    private readonly world: {
      readonly clock: Clock;
      readonly events: DispatchEvents | undefined;
      readonly health: (backend: NodeId) => Health | undefined;
      /** How the forwarder calls a pool, by its name in the rules. */
      readonly poolOf: (name: string) => NodeId | undefined;
    },
  ) {
    this.#targets = new Map(backends.map(({ name, id }) => [name, { kind: "node", id }]));
    this.#names = new Map(backends.map(({ name, id }) => [id, name]));
  }

  /** What routing may know of backends for this client. */
  readonly context = (client: Uint8Array): RouteContext =>
    new ClientContext(client, this.#healthOf);

  idOf(name: string): NodeId | undefined {
    return this.#targets.get(name)?.id;
  }

  move(
    migrator: Migrator,
    forwarder: NodeId,
    request: Classified,
    done: (outcome: MoveOutcome) => void,
  ): void {
    const targets: Target[] = [];
    for (const name of request.candidates) {
      const target = this.#targets.get(name);
      if (target) targets.push(target);
    }
    const settled = (outcome: MigrationOutcome): void => done(this.#settle(request, outcome));
    const { routing } = request;
    const pool = this.world.poolOf(request.pool);
    const how = pool === undefined ? { routing } : { pool, routing };
    if (migrator.migrate(request.handle, forwarder, targets, settled, how)) return;
    done(this.#settle(request, { kind: "unavailable", reason: "too busy" }));
  }

  #settle(request: Classified, outcome: MigrationOutcome): MoveOutcome {
    const { clock, events } = this.world;
    if (outcome.kind === "unavailable") {
      this.counters.unavailable++;
      return outcome.isUnasked ? "unasked" : "unavailable";
    }
    if (outcome.kind !== "moved") {
      this.counters.lost++;
      events?.rejected?.(request.tuple, "the connection ended while it moved", request.head);
      return "lost";
    }
    this.counters.handedOff++;
    events?.handedOff?.({
      request,
      backend: this.#names.get(outcome.target) ?? outcome.target,
      flow: outcome.flow,
      blobBytes: outcome.blobBytes,
      handoffUs: clock.nowUs() - request.decidedUs,
    });
    return "moved";
  }

  readonly #healthOf = (name: string): Health | undefined => {
    const target = this.#targets.get(name);
    return target && this.world.health(target.id);
  };
}

class ClientContext implements RouteContext {
  constructor(
    private readonly client: Uint8Array,
    private readonly health: (backend: string) => Health | undefined,
  ) {}

  /** Few policies ask. */
  get clientAddress(): string {
    return formatAddress(this.client);
  }

  usable(backend: string): boolean {
    return this.health(backend)?.usable ?? false;
  }

  mayReturn(backend: string): boolean {
    return this.health(backend)?.mayReturn ?? false;
  }

  load(backend: string): number {
    return this.health(backend)?.load ?? 0;
  }
}
