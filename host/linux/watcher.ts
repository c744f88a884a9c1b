/**
 * Reports on Node's loop when a descriptor that libuv refuses (TUN, AF_XDP) can be read. Knows
 * descriptors and the loop; must not know what is read.
 *
 * watchByLoop: libuv accepts a unix socket; `dup3` then puts the descriptor into that socket's place
 * before libuv's first epoll_ctl, so libuv polls and reads the descriptor itself: no thread, one read
 * for each wake-up, whose bytes wait in `pending`. watchByWorker: a thread polls and writes to a pipe.
 */
import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";
import { Worker } from "node:worker_threads";
import { BatonError } from "../errors.ts";
import { AF_UNIX, libc, SOCK_NONBLOCK, SOCK_STREAM } from "./libc.ts";
import { WAITER, WAITER_BYTES, type WaiterData } from "./waiter.ts";

export interface WatcherEvents {
  /** Something may be read. Called again as long as that holds; false: nobody listens yet. */
  readable(): boolean;
  /** Nothing will be reported any more. */
  failed(error: Error): void;
}

export interface Watcher {
  readonly kind: "loop" | "worker";
  /** What the loop's own read took, ahead of all that is still in the descriptor; empty when nothing. */
  readonly pending: Uint8Array;
  /** The pending bytes were copied: their buffer is free. */
  taken(): void;
  /** A read said EAGAIN: report again when that changes, and so long after now if that saves wake-ups. */
  drained(pauseUs?: number): void;
  /** Reports now, because `readable` said false before. */
  report(): void;
  /** Stops at once; nothing refers to the watched descriptor afterwards. */
  close(): void;
}

/**
 * A wake-up of a worker takes two threads some 20 us, as much as twenty packets. After so many at once the next report
 * may come so much later: many packets then share it, and few ones are not kept waiting.
 */
const BUSY_PACKETS = 16;
const PAUSE_US = 100;

/** What to ask of `drained` when so many packets were read since the last report. */
export function pauseAfter(packets: number): number {
  return packets < BUSY_PACKETS ? 0 : PAUSE_US;
}

const NOTHING = new Uint8Array(0);

/** Watches a non-blocking descriptor whose read() returns at most `bytes` - 1 bytes of data. */
export function watchByLoop(fd: number, bytes: number, events: WatcherEvents): Watcher {
  return new LoopWatcher(fd, bytes, events);
}

/** Watches any pollable descriptor. */
export function watchByWorker(fd: number, events: WatcherEvents): Watcher {
  return new WorkerWatcher(fd, events);
}

class LoopWatcher implements Watcher {
  readonly kind = "loop";
  pending: Uint8Array = NOTHING;
  #socket: Socket;
  #buffer: Uint8Array;
  #events: WatcherEvents;
  #paused = false;
  #closed = false;

  constructor(fd: number, bytes: number, events: WatcherEvents) {
    this.#events = events;
    this.#buffer = new Uint8Array(new ArrayBuffer(bytes));
    const [watched, other] = libc().socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    try {
      const options: SocketConstructorOpts & { onread: OnReadOpts } = {
        fd: watched,
        readable: true,
        writable: false,
        onread: { buffer: this.#buffer, callback: (length) => this.#onRead(length) },
      };
      this.#socket = new Socket(options);
      this.#socket.on("error", (error) => this.#fail(error));
      this.#socket.on("close", () => this.#fail(new Error("the loop closed the descriptor")));
      libc().dup3(fd, watched);
    } finally {
      libc().close(other);
    }
  }

  #onRead(length: number): boolean {
    this.pending = this.#buffer.subarray(0, length);
    this.#events.readable();
    // Nobody took it: the loop must not read the next one over it.
    this.#paused = this.pending.length > 0;
    return !this.#paused;
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.failed(error);
  }

  report(): void {
    if (!this.#closed) this.#events.readable();
  }

  taken(): void {
    this.pending = NOTHING;
    if (!this.#paused || this.#closed) return;
    this.#paused = false;
    this.#socket.resume();
  }

  drained(): void {
    // epoll is level-triggered here: nothing to arm.
  }

  close(): void {
    this.#closed = true;
    this.pending = NOTHING;
    this.#socket.destroy();
  }
}

class WorkerWatcher implements Watcher {
  readonly kind = "worker";
  readonly pending = NOTHING;
  #events: WatcherEvents;
  #state = new Int32Array(new SharedArrayBuffer(WAITER_BYTES));
  #wake: Socket;
  #stopFds: [number, number];
  #drained = false;
  #closed = false;
  #again: NodeJS.Immediate | undefined;

  constructor(fd: number, events: WatcherEvents) {
    this.#events = events;
    const [wakeFd, workerFd] = libc().socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    this.#stopFds = libc().socketpair(AF_UNIX, SOCK_STREAM, 0);
    const options: SocketConstructorOpts & { onread: OnReadOpts } = {
      fd: wakeFd,
      readable: true,
      writable: false,
      // The bytes say nothing: without a buffer of ours each of them would get 64 KiB.
      onread: { buffer: new Uint8Array(WAKE_BYTES), callback: () => this.#woken() },
    };
    this.#wake = new Socket(options);
    this.#wake.on("error", (error) => this.#fail(error));
    Atomics.store(this.#state, WAITER.STATE, WAITER.ARMED);
    const workerData: WaiterData = {
      state: this.#state,
      fd,
      stopFd: this.#stopFds[1],
      wakeFd: workerFd,
    };
    const worker = new Worker(new URL("./waiter.js", import.meta.url), { workerData });
    worker.unref(); // the wake socket keeps the loop alive
    worker.on("error", (error: Error) => this.#fail(error));
    worker.on("exit", () => this.#fail(new BatonError("ERR_BATON_WATCHER", "waiter: it ended")));
  }

  report(): void {
    if (this.#closed) return;
    this.#drained = false;
    const heard = this.#events.readable();
    if (!heard || this.#drained || this.#closed) return;
    // Not read to the end: report again, as epoll would.
    this.#again = setImmediate(() => this.report());
  }

  #woken(): true {
    this.report();
    return true;
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.failed(error);
  }

  taken(): void {
    // The worker reads nothing.
  }

  drained(pauseUs = 0): void {
    this.#drained = true;
    clearImmediate(this.#again);
    this.#again = undefined;
    Atomics.store(this.#state, WAITER.PAUSE_US, pauseUs);
    const before = Atomics.compareExchange(
      this.#state,
      WAITER.STATE,
      WAITER.REPORTED,
      WAITER.ARMED,
    );
    if (before === WAITER.REPORTED) Atomics.notify(this.#state, WAITER.STATE);
  }

  close(): void {
    if (this.#stopFds[0] < 0) return;
    this.#closed = true;
    clearImmediate(this.#again);
    Atomics.store(this.#state, WAITER.STATE, WAITER.STOP);
    Atomics.notify(this.#state, WAITER.STATE);
    libc().close(this.#stopFds[0]); // the waiter's end reports a hang-up
    // The waiter polls descriptors that are about to be closed: wait until it has let go.
    Atomics.wait(this.#state, WAITER.ENDED, 0, CLOSE_MS_MAX);
    libc().close(this.#stopFds[1]);
    this.#stopFds = [-1, -1];
    this.#wake.destroy();
  }
}

/** One for each report, and there is never more than one. */
const WAKE_BYTES = 8;
/** Far beyond any scheduling delay: only a lost thread lets it pass. */
const CLOSE_MS_MAX = 2000;
