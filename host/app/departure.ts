/**
 * How a socket leaves for another backend: it reads nothing more, lets the stack take what was written, asks
 * the node, and goes on reading when it is kept. Knows a socket's state by a few questions; must not know
 * streams, nor what moves a connection.
 */
import type { Connection, MoveOutcome, Readiness } from "../node/connection.ts";

export interface MigrateOptions {
  /** A backend's name; any other one of the connection's pool without it. */
  readonly target?: string | undefined;
  /**
   * What the application there needs to go on, at most 4,096 bytes. A function is asked when the connection
   * stands still: until then, bytes that this socket has received already still reach the application.
   */
  readonly state?: Uint8Array | (() => Uint8Array) | undefined;
}

/** Where to, and what travels along. */
interface Journey extends MigrateOptions {
  /** To a classifier. */
  readonly reroute?: boolean | undefined;
}

/** The socket as its departure sees it. */
export interface Traveller {
  readonly connection: Connection;
  isLive(): boolean;
  /** Nothing that was received waits in it. */
  isRead(): boolean;
  /** Everything that was written is in the stack. */
  isFlushed(): boolean;
  /** Reading goes on. */
  resume(): void;
}

const STATE_MAX = 4096;
const NO_STATE = new Uint8Array(0);

export class Departure {
  /** Nothing is read until the outcome is known. */
  isHeld = false;
  /** Whether it may move when its backend drains. */
  readiness: (() => Readiness) | undefined = undefined;
  readonly #traveller: Traveller;
  #start: (() => void) | undefined = undefined;

  constructor(traveller: Traveller) {
    this.#traveller = traveller;
  }

  migrate({ target, reroute, state = NO_STATE }: Journey): Promise<MoveOutcome> {
    if (typeof state !== "function") checkState(state);
    const traveller = this.#traveller;
    if (!traveller.isLive()) return Promise.resolve({ kind: "ended" });
    if (this.isHeld) return Promise.resolve({ kind: "kept", reason: "it is moving already" });
    if (!traveller.isRead() && typeof state !== "function") {
      // They are out of the stack and no part of the blob.
      return Promise.resolve({ kind: "kept", reason: "received bytes wait in the socket" });
    }
    this.isHeld = true;
    return new Promise((resolve) => {
      const done = (outcome: MoveOutcome): void => {
        resolve(outcome);
        this.release();
      };
      const ready = (): Readiness => this.#left() ?? stateOf(state);
      this.#start = () => {
        this.#start = undefined;
        if (traveller.isLive()) traveller.connection.migrate({ target, reroute, ready, done });
        else done({ kind: "ended" });
      };
      this.flushed();
    });
  }

  /** The node drains: may it go? */
  mayLeave(): Readiness {
    const traveller = this.#traveller;
    if (!this.readiness) return { kind: "never", reason: "its application does not move it" };
    if (this.#start) return { kind: "busy", reason: "it is moving already" };
    if (!traveller.isLive() || !traveller.isRead()) return { kind: "busy", reason: "it is in use" };
    const answer = this.#left() ?? this.readiness();
    if (answer.kind === "ready") this.isHeld = true;
    return answer;
  }

  /** Less may be in the socket now. */
  flushed(): void {
    if (this.#start && !this.#left()) this.#start();
  }

  /** The socket was destroyed. */
  abandon(): void {
    this.#start?.();
  }

  /** It stays. */
  release(): void {
    this.isHeld = false;
    this.#traveller.resume();
  }

  /** What is still in JavaScript. */
  #left(): Readiness | undefined {
    const { isFlushed, isRead } = this.#traveller;
    if (!isRead()) return { kind: "busy", reason: "received bytes wait in the socket" };
    return isFlushed() ? undefined : { kind: "busy", reason: "written bytes wait in the socket" };
  }
}

/** The node's turn goes on whatever an application does: what it throws is the reason why it stays. */
function stateOf(state: Uint8Array | (() => Uint8Array)): Readiness {
  if (typeof state !== "function") return { kind: "ready", state };
  try {
    const bytes = state();
    checkState(bytes);
    return { kind: "ready", state: bytes };
  } catch (error) {
    return { kind: "busy", reason: `its state cannot be had: ${String(error)}` };
  }
}

function checkState(state: Uint8Array): void {
  if (state.length <= STATE_MAX) return;
  const what = `migrate: expected at most ${STATE_MAX} bytes of state, got ${state.length}`;
  throw new RangeError(what);
}
