/**
 * Two Connections joined in memory: bounded buffers at both ends, events only from turns of its own,
 * and faults on demand. Keeps the contract of host/node/connection.ts to the letter, refuses calls
 * that break it, and knows nothing of TCP.
 */
import type {
  Connection,
  ConnectionAddress,
  ConnectionEvents,
  MoveOutcome,
  MoveRequest,
  Readiness,
  Routing,
} from "../../host/node/connection.ts";

export interface PairOptions {
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
  readonly client?: ConnectionAddress;
  readonly server?: ConnectionAddress;
  /** Runs a turn later; `setImmediate` by default. */
  readonly later?: (turn: () => void) => void;
  /** Bytes that one turn carries in one direction; everything that fits by default. */
  readonly carry?: () => number;
}

export interface Pair {
  /** What the remote client holds. */
  readonly client: FakeConnection;
  /** What the application gets. */
  readonly server: FakeConnection;
}

export const CLIENT: ConnectionAddress = { address: "203.0.113.7", port: 40_123, family: 4 };
export const SERVICE: ConnectionAddress = { address: "10.0.0.100", port: 80, family: 4 };

let lastId = 0;

export function connectionPair(options: PairOptions = {}): Pair {
  const remote = options.client ?? CLIENT;
  const local = options.server ?? SERVICE;
  const client = new FakeConnection(local, remote, options);
  const server = new FakeConnection(remote, local, options);
  client.join(server);
  server.join(client);
  return { client, server };
}

type Failure = { readonly code: string; readonly message: string };

/** A byte queue over chunks; offsets count from its front. */
class Bytes {
  #chunks: Uint8Array[] = [];
  length = 0;

  append(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(new Uint8Array(bytes)); // A copy: slice() of a Buffer is a view.
    this.length += bytes.length;
  }

  copy(into: Uint8Array, offset: number): number {
    let skip = offset;
    let filled = 0;
    for (const chunk of this.#chunks) {
      if (filled === into.length) break;
      const part = chunk.subarray(Math.min(skip, chunk.length));
      skip = Math.max(0, skip - chunk.length);
      const taken = part.subarray(0, into.length - filled);
      into.set(taken, filled);
      filled += taken.length;
    }
    return filled;
  }

  take(count: number): Uint8Array {
    const taken = new Uint8Array(Math.min(count, this.length));
    this.copy(taken, 0);
    let left = taken.length;
    while (left > 0) {
      const first = this.#chunks[0] as Uint8Array;
      if (first.length <= left) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(left);
      left -= Math.min(left, first.length);
    }
    this.length -= taken.length;
    return taken;
  }

  clear(): void {
    this.#chunks = [];
    this.length = 0;
  }
}

export class FakeConnection implements Connection {
  readonly id = ++lastId;
  readonly remote: ConnectionAddress;
  readonly local: ConnectionAddress;
  bytesRead = 0;
  bytesWritten = 0;
  noDelay = false;
  keepAliveMs = 0;
  /** How the holder let go; undefined while it has not. */
  letGo: "close" | "abort" | "moved" | undefined = undefined;
  routing: Routing = "connection";
  /** What an application sent along with it. */
  state: Uint8Array = new Uint8Array(0);
  /** How often the holder said that it may move. */
  offers = 0;
  /** The move that was asked for and has no outcome yet. */
  moving: MoveRequest | undefined = undefined;
  /** It stands still for a move. */
  frozen = false;
  /** The peer saw a RST of this end. */
  resetSent = false;
  /** While true nothing leaves this end. */
  held = false;
  /** How many calls `write` and `read` got. */
  writes = 0;
  reads = 0;

  readonly #sendMax: number;
  readonly #receiveMax: number;
  readonly #later: (turn: () => void) => void;
  readonly #carry: () => number;
  readonly #received = new Bytes();
  readonly #unsent = new Bytes();
  #peer: FakeConnection | undefined = undefined;
  #events: ConnectionEvents | undefined = undefined;
  #scheduled = false;
  #isLent = false;
  #news = false;
  #wasShort = false;
  #finQueued = false;
  #finSent = false;
  #finReceived = false;
  #endedTold = false;
  #failure: Failure | undefined = undefined;
  #closedTold = false;
  #wasStill = false;
  #deferred: (() => void)[] = [];

  constructor(remote: ConnectionAddress, local: ConnectionAddress, options: PairOptions) {
    this.remote = remote;
    this.local = local;
    this.#sendMax = options.sendBuffer ?? 65_536;
    this.#receiveMax = options.receiveBuffer ?? 65_536;
    this.#later = options.later ?? ((turn) => setImmediate(turn));
    this.#carry = options.carry ?? (() => Infinity);
  }

  join(peer: FakeConnection): void {
    this.#peer = peer;
  }

  get readableLength(): number {
    return this.#isStill ? 0 : this.#received.length;
  }

  get writableLength(): number {
    return this.#isStill ? 0 : this.#unsent.length;
  }

  /** Both directions are over, seen from this end. */
  get isOver(): boolean {
    return this.#failure !== undefined || (this.#finSent && this.#finReceived);
  }

  listen(events: ConnectionEvents): void {
    if (this.#events) throw new Error("listen: a second listener");
    this.#events = events;
    if (this.#received.length > 0) this.#news = true;
    this.#schedule();
  }

  read(into: Uint8Array): number {
    this.#mustBeHeld("read");
    if (this.#isStill || this.#isLent) return 0;
    this.reads += 1;
    const taken = this.#received.take(into.length);
    into.set(taken);
    this.bytesRead += taken.length;
    if (taken.length > 0) this.#wakePeer();
    return taken.length;
  }

  consume(most: number, look: (piece: Uint8Array) => void): number {
    this.#mustBeHeld("consume");
    if (this.#isStill || this.#isLent) return 0;
    const piece = new Uint8Array(Math.min(most, this.#received.length));
    this.#received.copy(piece, 0);
    this.#isLent = true;
    try {
      if (piece.length > 0) look(piece);
    } finally {
      this.#isLent = false;
    }
    if (!this.letGo) return this.read(piece);
    this.bytesRead += piece.length;
    return piece.length;
  }

  peek(into: Uint8Array, offset: number): number {
    this.#mustBeHeld("peek");
    if (this.#isStill) return 0;
    return this.#received.copy(into, offset);
  }

  write(from: Uint8Array): number {
    this.#mustBeHeld("write");
    if (this.#isStill) return this.#refuseStill();
    if (this.#finQueued) throw new Error("write after shutdown");
    this.writes += 1;
    if (this.#failure) return 0;
    const taken = from.subarray(0, Math.max(0, this.#sendMax - this.#unsent.length));
    this.#unsent.append(taken);
    this.bytesWritten += taken.length;
    if (taken.length < from.length) this.#wasShort = true;
    this.#schedule();
    return taken.length;
  }

  shutdown(): void {
    this.#mustBeHeld("shutdown");
    if (this.#defers(() => this.shutdown())) return;
    this.#finQueued = true;
    this.#schedule();
  }

  abort(): void {
    this.#mustBeHeld("abort");
    if (this.#defers(() => this.abort())) return;
    this.letGo = "abort";
    this.#reset();
  }

  close(): void {
    this.#mustBeHeld("close");
    if (this.#defers(() => this.close())) return;
    this.letGo = "close";
    if (this.isOver) return;
    if (this.#received.length > 0) {
      this.#reset();
      return;
    }
    this.#finQueued = true;
    this.#schedule();
  }

  setNoDelay(on: boolean): void {
    this.#mustBeHeld("setNoDelay");
    this.noDelay = on;
  }

  setKeepAlive(idleMs: number): void {
    this.#mustBeHeld("setKeepAlive");
    this.keepAliveMs = idleMs;
  }

  migrate(request: MoveRequest): void {
    this.#mustBeHeld("migrate");
    if (this.moving) throw new Error("migrate: a second time");
    this.moving = request;
  }

  offer(): void {
    this.#mustBeHeld("offer");
    this.offers += 1;
  }

  /** The node asks whether it may move it. */
  readiness(): Readiness {
    return (
      this.#events?.readiness?.() ?? { kind: "never", reason: "its application does not move it" }
    );
  }

  /** After "ready": it could not be moved. */
  kept(): void {
    this.#events?.kept?.();
  }

  /** The grant is there: it stands still when its holder still says so. */
  freeze(): Readiness {
    const answer = this.moving?.ready() ?? { kind: "never", reason: "nobody asked" };
    if (answer.kind === "ready") this.frozen = true;
    return answer;
  }

  /** The outcome of the move that was asked for. */
  settle(outcome: MoveOutcome): void {
    const { moving } = this;
    this.moving = undefined;
    this.frozen = false;
    const deferred = this.#deferred.splice(0);
    if (outcome.kind === "moved") {
      this.letGo = "moved";
      this.#events?.moved?.();
    } else {
      for (const action of deferred) action();
      this.#news ||= this.#received.length > 0;
      this.#wasShort ||= this.#wasStill;
      this.#schedule();
    }
    this.#wasStill = false;
    moving?.done(outcome);
  }

  /** Fault: the connection dies at this end, as from a RST or a time-out. */
  fail(code: string): void {
    this.#failure ??= { code, message: `injected ${code}` };
    this.#unsent.clear();
    this.#schedule();
  }

  /** Stops (true) or goes on with (false) everything that leaves this end. */
  hold(on: boolean): void {
    this.held = on;
    this.#schedule();
  }

  /** Convenience for tests: everything received so far. */
  readAll(): Buffer {
    const all = Buffer.alloc(this.#received.length);
    this.read(all);
    return all;
  }

  get #isStill(): boolean {
    return this.frozen || this.letGo === "moved";
  }

  #refuseStill(): number {
    this.#wasStill = true;
    return 0;
  }

  #defers(action: () => void): boolean {
    if (this.frozen) this.#deferred.push(action);
    return this.#isStill;
  }

  #reset(): void {
    this.#unsent.clear();
    this.#received.clear();
    if (this.#failure || !this.#peer) return;
    this.#failure = { code: "ECONNRESET", message: "reset by this end" };
    this.#closedTold = true;
    this.resetSent = true;
    this.#peer.fail("ECONNRESET");
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#later(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    this.#transmit();
    if (this.letGo) return;
    const events = this.#events;
    if (!events) return;
    if (this.#news) {
      this.#news = false;
      events.readable();
    }
    if (this.#live() && this.#wasShort && this.#unsent.length < this.#sendMax) {
      this.#wasShort = false;
      if (!this.#failure) events.writable();
    }
    if (this.#live() && this.#finReceived && !this.#endedTold) {
      this.#endedTold = true;
      events.ended();
    }
    if (this.#live() && this.isOver && !this.#closedTold) {
      this.#closedTold = true;
      events.closed(this.#failure);
    }
  }

  #live(): boolean {
    return this.letGo === undefined;
  }

  #transmit(): void {
    const peer = this.#peer;
    if (!peer || this.#failure || this.held) return;
    const space = peer.letGo ? Infinity : peer.#receiveMax - peer.#received.length;
    const count = Math.min(this.#carry(), space, this.#unsent.length);
    if (count > 0) {
      const bytes = this.#unsent.take(count);
      if (peer.letGo) {
        peer.#reset(); // Data for an application that let go is answered with a RST.
        return;
      }
      peer.#received.append(bytes);
      peer.#news = true;
      peer.#schedule();
    }
    if (this.#unsent.length > 0 && space > count) this.#schedule();
    if (this.#unsent.length === 0 && this.#finQueued && !this.#finSent) {
      this.#finSent = true;
      peer.#finReceived = true;
      peer.#schedule();
      this.#schedule();
    }
  }

  #wakePeer(): void {
    if (this.#peer) this.#peer.#schedule();
  }

  #mustBeHeld(call: string): void {
    if (this.letGo && this.letGo !== "moved") throw new Error(`${call} after ${this.letGo}`);
  }
}
