/**
 * A connection of this node's stack as applications see it: `Connection` over a handle of the core.
 * Knows the core's socket calls and events; must not know flows or migration.
 */
import type { Core, CoreEvent } from "../core/core.ts";
import { formatAddress } from "../core/address.ts";
import type { Tuple } from "../core/tuple.ts";
import type {
  Connection,
  ConnectionAddress,
  ConnectionEvents,
  MoveOutcome,
  MoveRequest,
  Readiness,
  Routing,
} from "./connection.ts";
import type { Baggage } from "./migration.ts";

/** What a live connection needs around it. */
export interface LiveContext {
  readonly core: Core;
  readonly nowUs: () => number;
  /** Something may be ready to leave: a turn is due. */
  readonly wake: () => void;
  /** Events wait for a listener that has just come: call `deliverEarly` on the next turn. */
  readonly early: (connection: LiveConnection) => void;
  /** Its application wants it elsewhere. */
  readonly move: (connection: LiveConnection, request: MoveRequest) => void;
  /** Its application could let it go now. */
  readonly offered: (connection: LiveConnection) => void;
  /** It is over for its application; TIME-WAIT may follow. Once for each connection. */
  readonly finished: (connection: LiveConnection, how: Finish) => void;
}

/** How a connection ended as its application sees it: by an Err of the core, or by a call. */
export type Finish = { readonly code: number } | "closed" | "aborted";

export class LiveConnection implements Connection {
  readonly id: number;
  readonly remote: ConnectionAddress;
  readonly local: ConnectionAddress;
  readonly tuple: Tuple;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #context: LiveContext;
  readonly #handle: number;
  #events: ConnectionEvents | undefined;
  /** Events that came before anybody listened. */
  #early: Pick<CoreEvent, "kind" | "code">[] = [];
  #gone = false;
  /** A piece of the receive queue is being looked at. */
  #isLent = false;
  #isFinished = false;
  /** It stands still for a move: what is asked for meanwhile happens when it runs on. */
  #isFrozen = false;
  #deferred: (() => void)[] = [];

  constructor(
    context: LiveContext,
    id: number,
    handle: number,
    tuple: Tuple,
    readonly baggage: Baggage,
  ) {
    this.#context = context;
    this.#handle = handle;
    this.id = id;
    this.tuple = tuple;
    this.remote = addressOf(tuple.remote, tuple.remotePort, tuple.family);
    this.local = addressOf(tuple.local, tuple.localPort, tuple.family);
  }

  get state(): Uint8Array {
    return this.baggage.state;
  }

  get routing(): Routing {
    return this.baggage.routing;
  }

  get handle(): number {
    return this.#handle;
  }

  get readableLength(): number {
    return this.#gone ? 0 : this.#context.core.readableLength(this.#handle);
  }

  get writableLength(): number {
    return this.#gone ? 0 : this.#context.core.unacknowledgedLength(this.#handle);
  }

  listen(events: ConnectionEvents): void {
    this.#events = events;
    if (this.#early.length > 0) this.#context.early(this);
  }

  /** A connection that arrived with unread bytes, or with the peer's FIN, says so first of all. */
  begin(): void {
    const { core } = this.#context;
    const code = core.err["OK"] ?? 0;
    if (this.readableLength > 0) this.handleEvent({ kind: "readable", code });
    if (core.connectionInfo(this.#handle).isEnded) this.handleEvent({ kind: "ended", code });
  }

  /** Delivers what happened before `listen`; part of the node's turn. */
  deliverEarly(): void {
    if (!this.#events || this.#isFrozen) return; // Running on calls for it again.
    const early = this.#early;
    this.#early = [];
    for (const event of early) this.handleEvent(event);
  }

  handleEvent(event: Pick<CoreEvent, "kind" | "code">): void {
    if (event.kind === "closed") this.#finish({ code: event.code });
    if (this.#gone) return; // The application has let go: no event follows.
    const events = this.#events;
    if (!events || (this.#isFrozen && event.kind !== "closed")) {
      this.#early.push(event);
      return;
    }
    if (event.kind === "readable") events.readable();
    else if (event.kind === "writable") events.writable();
    else if (event.kind === "ended") events.ended();
    else if (event.kind === "closed") events.closed(failure(this.#context.core, event.code));
  }

  read(into: Uint8Array): number {
    const count = this.#isLent ? 0 : this.peek(into, 0);
    if (count > 0) this.#consumed(count);
    return count;
  }

  consume(most: number, look: (piece: Uint8Array) => void): number {
    if (this.#isLent) return 0;
    const { core } = this.#context;
    let done = 0;
    this.#isLent = true;
    try {
      while (done < most && !this.#gone) {
        const span = core.readable(this.#handle, done);
        const len = Math.min(span.len, most - done);
        if (len <= 0) break;
        look(core.memory.subarray(span.ptr, span.ptr + len));
        done += len;
      }
    } finally {
      this.#isLent = false;
      if (done > 0) this.#consumed(done);
    }
    return done;
  }

  peek(into: Uint8Array, offset: number): number {
    if (this.#gone) return 0;
    const { core } = this.#context;
    let done = 0;
    while (done < into.length) {
      const span = core.readable(this.#handle, offset + done);
      const len = Math.min(span.len, into.length - done);
      if (len <= 0) break;
      into.set(core.memory.subarray(span.ptr, span.ptr + len), done);
      done += len;
    }
    return done;
  }

  write(from: Uint8Array): number {
    if (this.#gone) return 0;
    const { core, nowUs, wake } = this.#context;
    let done = 0;
    while (done < from.length) {
      const span = core.reserve(this.#handle);
      const len = Math.min(span.len, from.length - done);
      if (len <= 0) break;
      core.memory.set(from.subarray(done, done + len), span.ptr);
      core.commit(this.#handle, len, nowUs());
      done += len;
    }
    this.bytesWritten += done;
    if (done > 0) wake();
    return done;
  }

  shutdown(): void {
    if (this.#gone || this.#defers(() => this.shutdown())) return;
    this.#context.core.shutdown(this.#handle, this.#context.nowUs());
    this.#context.wake();
  }

  abort(): void {
    if (this.#gone) return;
    if (this.#defers(() => this.abort())) {
      this.#events = SILENT;
      return;
    }
    this.#gone = true;
    this.#context.core.abort(this.#handle, this.#context.nowUs());
    this.#context.core.release(this.#handle);
    this.#finish("aborted");
    this.#context.wake();
  }

  close(): void {
    if (this.#gone) return;
    if (this.#defers(() => this.close())) {
      this.#events = SILENT;
      return;
    }
    const { core, nowUs, wake } = this.#context;
    if (core.readableLength(this.#handle) > 0) {
      this.abort();
      return;
    }
    this.#gone = true;
    core.shutdown(this.#handle, nowUs());
    core.release(this.#handle);
    this.#finish("closed");
    wake();
  }

  /** Chunks go back only now: what is being looked at must not be written over by another connection. */
  #consumed(count: number): void {
    this.bytesRead += count;
    if (this.#gone) return; // The unread bytes went with it.
    this.#context.core.consume(this.#handle, count, this.#context.nowUs());
    this.#context.wake();
  }

  #finish(how: Finish): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#context.finished(this, how);
  }

  migrate(request: MoveRequest): void {
    this.#context.move(this, request);
  }

  offer(): void {
    if (!this.#gone) this.#context.offered(this);
  }

  /** What its application says about a move; nobody who listens can say yes. */
  readiness(): Readiness {
    if (this.#gone || !this.#events) return { kind: "busy", reason: "nobody has taken it yet" };
    return (
      this.#events.readiness?.() ?? { kind: "never", reason: "its application does not move it" }
    );
  }

  /** The core holds it still. */
  freeze(): void {
    this.#isFrozen = true;
  }

  /** It runs on: what was asked for meanwhile, and what its application may have missed. */
  thaw(): void {
    this.#isFrozen = false;
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const action of deferred) action();
    if (this.#gone) return;
    const code = this.#context.core.err["OK"] ?? 0;
    this.#early.push({ kind: "writable", code });
    if (this.readableLength > 0) this.#early.push({ kind: "readable", code });
    const { isEnded } = this.#context.core.connectionInfo(this.#handle);
    if (isEnded) this.#early.push({ kind: "ended", code });
    this.#context.early(this);
  }

  /** The outcome of a move. */
  settle(outcome: MoveOutcome): void {
    if (outcome.kind === "lost") {
      this.#isFrozen = false;
      this.#deferred = [];
      this.handleEvent({ kind: "closed", code: this.#context.core.err["RESET"] ?? 0 });
    } else if (outcome.kind === "moved") {
      const events = this.#events;
      this.#gone = true;
      this.#isFinished = true;
      this.#events = undefined;
      this.#early = [];
      this.#deferred = [];
      events?.moved?.();
    }
  }

  /** It goes back to its application after readiness() said yes. */
  kept(): void {
    this.#events?.kept?.();
  }

  #defers(action: () => void): boolean {
    if (this.#isFrozen) this.#deferred.push(action);
    return this.#isFrozen;
  }

  setNoDelay(on: boolean): void {
    if (this.#gone || this.#defers(() => this.setNoDelay(on))) return;
    this.#context.core.setOption(this.#handle, "NODELAY", on ? 1 : 0);
  }

  setKeepAlive(idleMs: number): void {
    if (this.#gone || this.#defers(() => this.setKeepAlive(idleMs))) return;
    this.#context.core.setOption(this.#handle, "KEEPALIVE_US", idleMs * 1000);
  }
}

/** The listener of an application that has let go while the connection stood still. */
const SILENT: ConnectionEvents = {
  readable: () => undefined,
  writable: () => undefined,
  ended: () => undefined,
  closed: () => undefined,
};

function addressOf(bytes: Uint8Array, port: number, family: 4 | 6): ConnectionAddress {
  return { address: formatAddress(bytes), port, family };
}

function failure(core: Core, code: number): { code: string; message: string } | undefined {
  const { err } = core;
  if (code === err.OK) return undefined;
  if (code === err.UNREACHABLE) return { code: "EHOSTUNREACH", message: "no route to host" };
  if (code === err.TIMEOUT) return { code: "ETIMEDOUT", message: "connection timed out" };
  if (code === err.ABORTED) return { code: "ECONNABORTED", message: "connection aborted" };
  return { code: "ECONNRESET", message: "connection reset by peer" };
}
