/**
 * A connection whose requests are routed one by one, as the server that has it sees it: it can read one request,
 * and with the first bytes of the next one the connection goes to a classifier, which finds the server for that.
 * Knows where messages begin and end, by HttpBoundary; must not know servers nor rules. docs/requests.md.
 *
 *   unread at the node   | rest of the request | next request, if it has come ...
 *   the server may read  |<------------------->|
 */
import type {
  Connection,
  ConnectionAddress,
  ConnectionEvents,
  MoveOutcome,
  MoveRequest,
  Readiness,
  Routing,
} from "../node/connection.ts";
import { HttpBoundary } from "./boundary.ts";
import { BUFFER_SIZE, giveBuffer, takeBuffer } from "./buffers.ts";
import { isForeign } from "./splice.ts";

/** More of a response than this should have reached the client before it moves on: it would travel twice. */
const UNACKNOWLEDGED_MAX = 65_536;
const LOOK_AGAIN_MS = 5;
/** A classifier that paused, or a forwarder that began anew, is back by then; a connection bears that once. */
const TRIES_MAX = 15;
const TRY_AGAIN_MS = 100;
/** RFC 9112 2.2: empty lines before a request do not begin one; a reader bears 4 of them. */
const EMPTY_LINES_MAX = 8;
const CR = 13;
const LF = 10;
const NOTHING = new Uint8Array(0);

/** Runs an action after a while; returns the way to stop it. */
export type Later = (action: () => void, ms: number) => () => void;

/** The connection as its server should see it. One in the middle of a message, by its state, stays as it is. */
export function byRequest(connection: Connection, later: Later = afterwards): Connection {
  const isRouted = connection.routing === "request" && !isForeign(connection);
  return isRouted ? new RoutedConnection(connection, later) : connection;
}

function afterwards(action: () => void, ms: number): () => void {
  const timer = setTimeout(action, ms).unref();
  return () => clearTimeout(timer);
}

export class RoutedConnection implements Connection {
  readonly #inner: Connection;
  readonly #boundary = new HttpBoundary();
  /** Requests that this server may read: the classifier chose it for the first; or none, when it came idle. */
  #admitted: number;
  /** Unread bytes that belong to them. */
  #measured = 0;
  #events: ConnectionEvents | undefined = undefined;
  /** A classifier is asked to take it, or will be once more: nothing is read. */
  #hold: "none" | "moving" | "waiting" = "none";
  #deferred: (() => void)[] = [];
  #triesLeft = TRIES_MAX;
  #hasEnded = false;
  #isEndTold = false;
  #isLetGo = false;
  #isOver = false;
  readonly #later: Later;
  #stopLooking: () => void = () => undefined;

  constructor(inner: Connection, later: Later) {
    this.#inner = inner;
    this.#later = later;
    this.#admitted = inner.state.length === 0 ? 1 : 0;
  }

  get id(): number {
    return this.#inner.id;
  }

  get remote(): ConnectionAddress {
    return this.#inner.remote;
  }

  get local(): ConnectionAddress {
    return this.#inner.local;
  }

  get routing(): Routing {
    return this.#inner.routing;
  }

  get readableLength(): number {
    return this.#passes ? this.#inner.readableLength : this.#measured;
  }

  get writableLength(): number {
    return this.#inner.writableLength;
  }

  get bytesRead(): number {
    return this.#inner.bytesRead;
  }

  get bytesWritten(): number {
    return this.#inner.bytesWritten;
  }

  get state(): Uint8Array {
    return this.#inner.state;
  }

  listen(events: ConnectionEvents): void {
    this.#events = events;
    this.#inner.listen({
      readable: () => this.#advance(),
      writable: () => this.#listener?.writable(),
      ended: () => {
        this.#hasEnded = true;
        this.#advance();
      },
      closed: (error) => {
        this.#isOver = true;
        this.#stopLooking();
        if (this.#hold === "waiting") this.#hold = "none";
        this.#listener?.closed(error);
      },
      readiness: () => this.#readiness(),
      kept: () => {
        this.#listener?.kept?.();
        this.#look();
      },
      moved: () => {
        this.#isOver = true;
        this.#stopLooking();
        this.#listener?.moved?.();
      },
    });
  }

  read(into: Uint8Array): number {
    if (this.#passes) return this.#inner.read(into);
    const count = this.#inner.read(into.subarray(0, Math.min(into.length, this.#measured)));
    this.#measured -= count;
    this.#look();
    return count;
  }

  consume(most: number, look: (piece: Uint8Array) => void): number {
    if (this.#passes) return this.#inner.consume(most, look);
    const before = this.#inner.bytesRead;
    try {
      return this.#inner.consume(Math.min(most, this.#measured), look);
    } finally {
      this.#measured -= this.#inner.bytesRead - before;
      this.#look();
    }
  }

  peek(into: Uint8Array, offset: number): number {
    if (this.#passes) return this.#inner.peek(into, offset);
    const count = Math.max(0, Math.min(into.length, this.#measured - offset));
    return this.#inner.peek(into.subarray(0, count), offset);
  }

  write(from: Uint8Array): number {
    const taken = this.#inner.write(from);
    if (taken === 0 || this.#passes) return taken;
    this.#boundary.fromServer(from.subarray(0, taken));
    // What was kept back may be the server's now; it hears of it on a turn of its own.
    if (this.#passes) setImmediate(() => this.#advance());
    else this.#look();
    return taken;
  }

  shutdown(): void {
    if (!this.#defers(() => this.shutdown())) this.#inner.shutdown();
    // What it gave up waiting for is there to be read.
    setImmediate(() => this.#advance());
  }

  abort(): void {
    this.#isLetGo = true;
    this.#stopLooking();
    if (!this.#defers(() => this.abort())) this.#inner.abort();
  }

  close(): void {
    this.#isLetGo = true;
    this.#stopLooking();
    if (this.#defers(() => this.close())) return;
    this.#swallow();
    this.#inner.close();
  }

  migrate(request: MoveRequest): void {
    this.#inner.migrate(request);
  }

  offer(): void {
    this.#inner.offer();
  }

  setNoDelay(on: boolean): void {
    this.#inner.setNoDelay(on);
  }

  setKeepAlive(idleMs: number): void {
    this.#inner.setKeepAlive(idleMs);
  }

  /** Nobody can tell one request from the next any more: all is the server's. */
  get #passes(): boolean {
    return this.#boundary.opaque !== undefined && this.#hold === "none";
  }

  get #listener(): ConnectionEvents | undefined {
    return this.#isLetGo ? undefined : this.#events;
  }

  /** True: it waits until it is known who has the connection. */
  #defers(action: () => void): boolean {
    if (this.#hold === "moving") this.#deferred.push(action);
    else if (this.#hold === "waiting") this.#giveUp();
    return this.#hold === "moving";
  }

  /** Unread bytes turn a close into a RST; empty lines that nobody was meant to read must not. */
  #swallow(): void {
    if (this.#passes || this.#measured > 0 || this.#mayMeasure || this.#hasNext()) return;
    this.#inner.read(new Uint8Array(EMPTY_LINES_MAX));
  }

  #readiness(): Readiness {
    if (this.#hold !== "none") return { kind: "busy", reason: "its next request is being routed" };
    const never = { kind: "never", reason: "its application does not move it" } as const;
    return this.#listener?.readiness?.() ?? never;
  }

  /** More has come, or may be read: tells the server what is its own, and looks at the rest. */
  #advance(): void {
    if (this.#hold !== "none" || this.#isLetGo || this.#isOver) return;
    this.#measure();
    if (this.readableLength > 0) this.#listener?.readable();
    this.#tellEnd();
    this.#look();
  }

  /** Goes on to the end of the request that may be read. */
  #measure(): void {
    if (!this.#mayMeasure) return;
    const scratch = takeBuffer(BUFFER_SIZE);
    while (this.#mayMeasure) {
      const count = this.#inner.peek(scratch, this.#measured);
      if (count === 0) break;
      this.#measured += this.#boundary.requestFromClient(scratch.subarray(0, count));
    }
    giveBuffer(scratch);
  }

  get #mayMeasure(): boolean {
    return this.#boundary.opaque === undefined && this.#boundary.requests < this.#admitted;
  }

  /** The client's FIN stands behind its last request, and is told by whoever has that. */
  #tellEnd(): void {
    if (!this.#hasEnded || this.#isEndTold || this.#hold !== "none") return;
    if (!this.#passes && this.#hasNext()) return;
    this.#isEndTold = true;
    this.#listener?.ended();
  }

  /** Whether a request has begun that this server was not chosen for. */
  #hasNext(): boolean {
    if (this.#mayMeasure) return false;
    const bytes = new Uint8Array(EMPTY_LINES_MAX + 1);
    const count = this.#inner.peek(bytes, this.#measured);
    if (count > EMPTY_LINES_MAX) return true;
    return bytes.subarray(0, count).some((byte) => byte !== CR && byte !== LF);
  }

  /** Every request was answered, and another one has begun: that is for a classifier. */
  #look(): void {
    if (this.#hold !== "none" || this.#isLetGo || this.#isOver || this.#passes) return;
    if (!this.#boundary.isIdle || this.#measured > 0 || !this.#hasNext()) return;
    if (this.#inner.writableLength > UNACKNOWLEDGED_MAX) {
      this.#stopLooking();
      this.#stopLooking = this.#later(() => this.#look(), LOOK_AGAIN_MS);
      return;
    }
    this.#ask();
  }

  #ask(): void {
    this.#hold = "moving";
    this.#inner.migrate({
      reroute: true,
      ready: () => this.#ready(),
      done: (outcome) => this.#settled(outcome),
    });
  }

  /** Asked once more when the grant is there: the server may have written something that nobody asked for. */
  #ready(): Readiness {
    if (this.#boundary.isIdle) return { kind: "ready", state: NOTHING };
    return { kind: "busy", reason: "it is not between two requests" };
  }

  #settled({ kind }: MoveOutcome): void {
    if (kind === "moved") return;
    const deferred = this.#deferred.splice(0);
    if (kind === "kept" && deferred.length === 0 && this.#triesLeft > 0) {
      this.#triesLeft--;
      this.#hold = "waiting";
      this.#stopLooking = this.#later(() => this.#ask(), TRY_AGAIN_MS);
      return;
    }
    this.#giveUp();
    for (const action of deferred) action();
    this.#advance();
  }

  /** Nobody takes it: this server answers one more. */
  #giveUp(): void {
    this.#stopLooking();
    this.#hold = "none";
    this.#admitted++;
  }
}
