/**
 * The thread behind watchByWorker: poll, write one byte, sleep until the loop has read everything.
 * Knows three descriptors and one shared word; must not know what is read.
 */
import { isMainThread, workerData } from "node:worker_threads";
import { libc, POLLIN } from "./libc.ts";

/** Indexes into the shared words, and the values of the first. PAUSE_US: so long it need not report. */
export const WAITER = { STATE: 0, ENDED: 1, PAUSE_US: 2, ARMED: 0, REPORTED: 1, STOP: 2 } as const;
export const WAITER_BYTES = 12;

export interface WaiterData {
  readonly state: Int32Array;
  /** What to wait for. */
  readonly fd: number;
  /** Hangs up when the thread shall end. */
  readonly stopFd: number;
  /** Where to report; this thread closes it. */
  readonly wakeFd: number;
}

/** A thread inside a system call cannot be ended, so `process.exit()` may have to wait this long. */
const POLL_MS = 250;

if (!isMainThread && isWaiterData(workerData)) wait(workerData);

function isWaiterData(data: unknown): data is WaiterData {
  return typeof data === "object" && data !== null && "wakeFd" in data && "stopFd" in data;
}

function wait({ state, fd, stopFd, wakeFd }: WaiterData): void {
  const c = libc();
  const byte = new Uint8Array(new ArrayBuffer(8));
  const address = c.address(byte);
  try {
    while (Atomics.load(state, WAITER.STATE) !== WAITER.STOP) {
      const pauseUs = Atomics.load(state, WAITER.PAUSE_US);
      if (pauseUs > 0) Atomics.wait(state, WAITER.STATE, WAITER.ARMED, pauseUs / 1000);
      const [ready = 0, stop = 0] = c.poll(
        [
          [fd, POLLIN],
          [stopFd, POLLIN],
        ],
        POLL_MS,
      );
      if (stop !== 0) break;
      if (ready === 0) continue;
      const { ARMED, REPORTED } = WAITER;
      if (Atomics.compareExchange(state, WAITER.STATE, ARMED, REPORTED) !== ARMED) break;
      c.write(wakeFd, address, 1);
      // A notification may be late, and be about the report before this one.
      while (Atomics.load(state, WAITER.STATE) === REPORTED) {
        Atomics.wait(state, WAITER.STATE, REPORTED);
      }
    }
  } finally {
    c.close(wakeFd);
    Atomics.store(state, WAITER.ENDED, 1);
    Atomics.notify(state, WAITER.ENDED);
  }
}
