/**
 * The classifier: an application on this node's stack that accepts connections, reads the request and determines the
 * backend, then asks for the connection to be moved there. Knows sockets of the core and the routing contract; must
 * not know the handoff protocol nor the mapping table.
 */
import type { Core, CoreEvent } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import type {
  ReadResult,
  RequestHead,
  RequestReader,
  RouteContext,
  Router,
} from "../routing/route.ts";
import { Numbered } from "../transport/numbered.ts";
import type { Routing } from "./connection.ts";
import type { Clock } from "./environment.ts";

/** Time for the whole request head, then 408. */
export const HEAD_LIMIT_US = 10_000_000;
/** After a reply of our own: how long the client may take to close its side. */
const LINGER_US = 2_000_000;
/**
 * How long a connection is kept while no backend takes it, before it is answered 503: a backend that paused,
 * or whose credits were all out, is back by then. It is asked for so often.
 */
export const KEEP_US = 1_500_000;
const AGAIN_US = 100_000;
/** How long it is kept in all while its forwarder is away: T_FROZEN, the longest that a connection stands still. */
const AWAY_US = 10_000_000;

/** A connection that is to move, and what is known about it. */
export interface Classified {
  readonly handle: number;
  readonly tuple: Tuple;
  readonly head: RequestHead;
  readonly rule: string;
  /** Backends in order of preference. */
  readonly candidates: readonly string[];
  /** Its members may have the connection later, too. */
  readonly pool: string;
  /** Where its later requests go. */
  readonly routing: Routing;
  /** Monotonic microseconds of the end of the handshake and of the decision. */
  readonly acceptedUs: number;
  readonly decidedUs: number;
}

/** "moved" and "lost" end our interest, after "unavailable" and "unasked" (the forwarder was away) we try again. */
export type MoveOutcome = "moved" | "lost" | "unavailable" | "unasked";

export interface ClassifierOptions {
  readonly core: Core;
  readonly clock: Clock;
  readonly router: Router;
  readonly headLimitUs?: number | undefined;
  /** How connections to this service address are routed; each by its first request without it. */
  readonly routingOf?: ((tuple: Tuple) => Routing) | undefined;
  /** Which backends can be used now, for this client. */
  readonly context: (client: Uint8Array) => RouteContext;
  /** The forwarder has begun anew: it does not know yet how the backends are. */
  readonly isRecovering: () => boolean;
  readonly move: (connection: Classified, done: (outcome: MoveOutcome) => void) => void;
  /** Something ended here: a rejection, or a client that left. */
  readonly rejected: (tuple: Tuple, reason: string, head: RequestHead | undefined) => void;
}

interface Pending {
  readonly handle: number;
  readonly tuple: Tuple;
  readonly reader: RequestReader;
  readonly acceptedUs: number;
  /**
   * reading: the head is incomplete. waiting: nobody takes it yet. moving: somebody else's. replied: our
   * answer is on its way out.
   */
  state: "reading" | "waiting" | "moving" | "replied";
  /** When the head must be complete, the next try is due, or the client gone after our reply. */
  dueUs: number;
  head: RequestHead | undefined;
  /** When it is answered that nobody takes it. */
  keepUs: number;
  /** The same, however often its forwarder goes away. */
  awayUs: number;
  /** It was over while it was to move. */
  isClosed: boolean;
  /** Unread bytes that do not lie together in the core, and how many of them were copied here. */
  copy: Uint8Array;
  copied: number;
}

export class Classifier {
  readonly counters = {
    accepted: 0,
    arrived: 0,
    decided: 0,
    waited: 0,
    rejected: 0,
    unavailable: 0,
    left: 0,
    expired: 0,
  };
  readonly #options: ClassifierOptions;
  readonly #headLimitUs: number;
  readonly #pending = new Numbered<Pending>();
  /**
   * In order of their deadlines, since all have the same limit. Entries may be stale: the connection is
   * gone, or another one has its handle already, since generations wrap. That one's `dueUs` tells.
   */
  readonly #heads = new Deadlines();
  readonly #lingers = new Deadlines();
  readonly #tries = new Deadlines();

  constructor(options: ClassifierOptions) {
    this.#options = options;
    this.#headLimitUs = options.headLimitUs ?? HEAD_LIMIT_US;
  }

  /** Connections between accept and handoff. */
  get size(): number {
    return this.#pending.size;
  }

  /** True when the event was about a connection of the classifier. */
  handleEvent(event: CoreEvent): boolean {
    if (event.kind === "accepted") {
      this.counters.accepted++;
      this.#add(event.handle, event.tuple);
      return true;
    }
    const pending = this.#pending.get(event.handle);
    if (!pending) return false;
    if (event.kind === "readable") this.#read(pending, false);
    else if (event.kind === "ended") this.#read(pending, true);
    else if (event.kind === "closed") this.#closed(pending);
    return true;
  }

  nextTimeoutUs(): number {
    return Math.min(this.#heads.nextUs(), this.#lingers.nextUs(), this.#tries.nextUs());
  }

  handleTimeout(): void {
    const now = this.#options.clock.nowUs();
    for (let handle = this.#heads.take(now); handle !== 0; handle = this.#heads.take(now)) {
      const pending = this.#pending.get(handle);
      if (pending?.state !== "reading" || pending.dueUs > now) continue;
      this.counters.expired++;
      this.#apply(pending, pending.reader.expire());
    }
    for (let handle = this.#tries.take(now); handle !== 0; handle = this.#tries.take(now)) {
      const pending = this.#pending.get(handle);
      if (pending?.state !== "waiting" || pending.dueUs > now || !pending.head) continue;
      this.#decide(pending, pending.head);
    }
    for (let handle = this.#lingers.take(now); handle !== 0; handle = this.#lingers.take(now)) {
      const pending = this.#pending.get(handle);
      if (pending?.state !== "replied" || pending.dueUs > now) continue;
      this.#options.core.abort(handle, now);
      this.#forget(pending);
    }
  }

  /**
   * Takes over a connection that arrived by a blob; the bytes of its next request that were received already
   * are read at once.
   */
  arrive(handle: number, tuple: Tuple, isEnded: boolean): void {
    this.counters.arrived++;
    const pending = this.#add(handle, tuple);
    if (isEnded || this.#options.core.readableLength(handle) > 0) this.#read(pending, isEnded);
  }

  #add(handle: number, tuple: Tuple): Pending {
    const now = this.#options.clock.nowUs();
    const pending: Pending = {
      handle,
      tuple,
      reader: this.#options.router.newReader(),
      acceptedUs: now,
      state: "reading",
      dueUs: now + this.#headLimitUs,
      head: undefined,
      awayUs: 0,
      keepUs: Infinity,
      isClosed: false,
      copy: NO_BYTES,
      copied: 0,
    };
    this.#pending.set(handle, pending);
    this.#heads.add(pending.dueUs, handle);
    return pending;
  }

  #read(pending: Pending, ended: boolean): void {
    if (pending.state === "moving" || pending.state === "waiting") return;
    if (pending.state === "replied") {
      this.#swallow(pending);
      if (ended) this.#letGo(pending);
      return;
    }
    const result = pending.reader.read(this.#unread(pending));
    if (result.kind === "more" && ended) {
      this.#left(pending);
      this.#swallow(pending);
      this.#letGo(pending);
      return;
    }
    this.#apply(pending, result);
  }

  #apply(pending: Pending, result: ReadResult): void {
    if (result.kind === "more") return;
    if (result.kind === "reject") {
      this.#reject(pending, result.reason, result.reply, result.reset);
      return;
    }
    pending.head = result.head;
    const now = this.#options.clock.nowUs();
    pending.keepUs = now + KEEP_US;
    pending.awayUs = now + AWAY_US;
    this.#decide(pending, result.head);
  }

  #decide(pending: Pending, head: RequestHead): void {
    const { router, context, clock } = this.#options;
    const decision = router.decide(head, context(pending.tuple.remote));
    if (decision.kind === "reject") {
      this.#reject(pending, decision.reason, decision.reply, decision.reset);
      return;
    }
    if (decision.kind === "wait") {
      if (this.#options.isRecovering()) this.#keepOn(pending);
      this.#wait(pending, head, decision.reason);
      return;
    }
    this.counters.decided++;
    const { handle, tuple, acceptedUs } = pending;
    const { candidates, rule, pool } = decision;
    pending.state = "moving";
    const decidedUs = clock.nowUs();
    // Of other protocols nobody knows where a request begins.
    const isHttp = head.protocol === "http";
    const routing = isHttp ? (this.#options.routingOf?.(tuple) ?? "connection") : "connection";
    const request: Classified = {
      handle,
      tuple,
      head,
      rule,
      candidates,
      pool,
      routing,
      acceptedUs,
      decidedUs,
    };
    this.#options.move(request, (outcome) => this.#moved(pending, head, outcome));
  }

  #moved(pending: Pending, head: RequestHead, outcome: MoveOutcome): void {
    if (this.#pending.get(pending.handle) !== pending) return;
    if (outcome === "unasked") this.#keepOn(pending);
    else if (outcome !== "unavailable") {
      // What ended before it moved still waits to be freed; a copy that was dropped has no handle any more.
      if (outcome === "lost") this.#options.core.release(pending.handle);
      return this.#forget(pending);
    }
    if (!pending.isClosed) return this.#wait(pending, head, "no backend takes the connection");
    this.#left(pending);
    pending.state = "reading"; // It is ours again, and to be let go.
    this.#forget(pending);
  }

  /** What was heard says nothing about backends: those get their time once it does. */
  #keepOn(pending: Pending): void {
    pending.keepUs = Math.min(this.#options.clock.nowUs() + KEEP_US, pending.awayUs);
  }

  /** Nobody takes it: once more in a moment, until it has been kept for long enough. */
  #wait(pending: Pending, head: RequestHead, reason: string): void {
    const now = this.#options.clock.nowUs();
    if (now + AGAIN_US <= pending.keepUs) {
      this.counters.waited++;
      pending.state = "waiting";
      pending.dueUs = now + AGAIN_US;
      this.#tries.add(pending.dueUs, pending.handle);
      return;
    }
    this.counters.unavailable++;
    const { reply, reset } = this.#options.router.unavailable(head);
    this.#reject(pending, reason, reply, reset);
  }

  #reject(pending: Pending, reason: string, reply: Uint8Array, reset: boolean): void {
    const { core, clock, rejected } = this.#options;
    const now = clock.nowUs();
    this.counters.rejected++;
    rejected(pending.tuple, reason, pending.head);
    if (reset) {
      core.abort(pending.handle, now);
      this.#forget(pending);
      return;
    }
    this.#swallow(pending);
    for (let done = 0; done < reply.length;) {
      const span = core.reserve(pending.handle);
      if (span.len === 0) break; // A reply of some hundred bytes always fits a new connection's buffer.
      const len = Math.min(span.len, reply.length - done);
      core.memory.set(reply.subarray(done, done + len), span.ptr);
      core.commit(pending.handle, len, now);
      done += len;
    }
    core.shutdown(pending.handle, now);
    pending.state = "replied";
    pending.dueUs = now + LINGER_US;
    this.#lingers.add(pending.dueUs, pending.handle);
  }

  /** Bytes that come after our answer: unread ones would turn the close into a RST that eats it. */
  #swallow(pending: Pending): void {
    const { core, clock } = this.#options;
    const count = core.readableLength(pending.handle);
    if (count > 0) core.consume(pending.handle, count, clock.nowUs());
  }

  #letGo(pending: Pending): void {
    const { core, clock } = this.#options;
    core.shutdown(pending.handle, clock.nowUs());
    this.#forget(pending);
  }

  #left(pending: Pending): void {
    this.counters.left++;
    const reason = "the client left before its request was complete";
    this.#options.rejected(pending.tuple, reason, undefined);
  }

  #closed(pending: Pending): void {
    if (pending.state === "reading" || pending.state === "waiting") this.#left(pending);
    if (pending.state === "moving") pending.isClosed = true;
    else this.#forget(pending);
  }

  /** Ends our interest in the handle, except when it moved: then it is the migrator's to free. */
  #forget(pending: Pending): void {
    this.#pending.delete(pending.handle);
    if (pending.state !== "moving") this.#options.core.release(pending.handle);
  }

  /** All unread bytes as one view: in place while they lie together, then copied once each. */
  #unread(pending: Pending): Uint8Array {
    const { core } = this.#options;
    const { handle } = pending;
    const first = core.readable(handle, 0);
    const total = core.readableLength(handle);
    if (first.len >= total) return core.memory.subarray(first.ptr, first.ptr + total);
    if (pending.copy.length < total) {
      const larger = new Uint8Array(2 * total);
      larger.set(pending.copy.subarray(0, pending.copied));
      pending.copy = larger;
    }
    while (pending.copied < total) {
      const span = core.readable(handle, pending.copied);
      if (span.len === 0) break;
      pending.copy.set(core.memory.subarray(span.ptr, span.ptr + span.len), pending.copied);
      pending.copied += span.len;
    }
    return pending.copy.subarray(0, pending.copied);
  }
}

const NO_BYTES = new Uint8Array(0);

/** A queue of deadlines that were added in order. */
class Deadlines {
  #times: number[] = [];
  #handles: number[] = [];
  #first = 0;

  add(atUs: number, handle: number): void {
    this.#times.push(atUs);
    this.#handles.push(handle);
  }

  nextUs(): number {
    return this.#times[this.#first] ?? Infinity;
  }

  /** The next handle that is due, 0 when none. */
  take(nowUs: number): number {
    if (this.nextUs() > nowUs) return 0;
    const handle = this.#handles[this.#first++] ?? 0;
    if (this.#first > 1024 && 2 * this.#first > this.#times.length) {
      this.#times = this.#times.slice(this.#first);
      this.#handles = this.#handles.slice(this.#first);
      this.#first = 0;
    }
    return handle;
  }
}
