/**
 * Datagrams that leave one connected UDP socket together, many by one system call. Knows sendmmsg(2) and
 * UDP_SEGMENT (udp(7)); must not know peers, nor what a datagram holds.
 *
 * Datagrams that lie side by side and are alike in length are one message, which the kernel cuts: it goes
 * through the stack once for all of them.
 */
import * as errno from "../linux/errno.ts";
import type { MessageArray } from "../linux/mmsg.ts";

/** Datagrams that wait at most. */
const BATCH = 64;
/** What one message may be cut into. */
const SEGMENTS_MAX = 64;
const SEGMENTED_BYTES_MAX = 65_000;
/** An old kernel, a device without checksums, a path that is narrower than the datagrams. */
const CANNOT_SEGMENT: ReadonlySet<number> = new Set([errno.EIO, errno.EINVAL, errno.EMSGSIZE]);

export interface OutboxEvents {
  /** It can wait for room, or for the end of an interruption. */
  later(bytes: Uint8Array): void;
  /** An earlier datagram met nobody who listens. */
  refused(): void;
  /** A datagram is lost. */
  failed(): void;
}

export class Outbox {
  readonly #fd: number;
  readonly #messages: MessageArray;
  readonly #events: OutboxEvents;
  #queue: Uint8Array[] = [];
  /** Until the kernel or the path refuses it. */
  #isSegmenting = true;

  /** @param messages for the time of a call: outboxes may share it */
  constructor(fd: number, messages: MessageArray, events: OutboxEvents) {
    this.#fd = fd;
    this.#messages = messages;
    this.#events = events;
  }

  /** Leaves with `flush` at the latest. The bytes must not change afterwards. */
  put(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    if (this.#queue.length === BATCH) this.flush();
  }

  flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    /** Index of each message's first datagram, and where the last one ends. */
    const starts = [0];
    for (let start = 0; start < queue.length; start = starts[starts.length - 1]!) {
      const end = this.#isSegmenting ? runEnd(queue, start) : start + 1;
      const first = queue[start]!;
      let length = 0;
      for (let index = start; index < end; index += 1) length += queue[index]!.length;
      this.#messages.point(starts.length - 1, first, 0, length);
      this.#messages.segment(starts.length - 1, end - start > 1 ? first.length : 0);
      starts.push(end);
    }
    this.#send(queue, starts);
  }

  #send(queue: readonly Uint8Array[], starts: readonly number[]): void {
    const end = starts.length - 1;
    let refusals = 0;
    for (let next = 0; next < end;) {
      const sent = this.#messages.send(this.#fd, next, end);
      if (sent > 0) {
        next += sent;
        refusals = 0;
        continue;
      }
      const count = starts[next + 1]! - starts[next]!;
      if (sent === -errno.ECONNREFUSED && refusals === 0) {
        // Told in place of sending. The same once more.
        refusals += 1;
        this.#events.refused();
      } else if (LATER.has(-sent)) {
        for (const bytes of queue.slice(starts[next])) this.#events.later(bytes);
        return;
      } else if (count > 1 && CANNOT_SEGMENT.has(-sent)) {
        this.#isSegmenting = false;
        this.#queue = queue.slice(starts[next]);
        return this.flush();
      } else {
        for (let lost = 0; lost < count; lost += 1) this.#events.failed();
        next += 1;
        refusals = 0;
      }
    }
  }
}

const LATER: ReadonlySet<number> = new Set([errno.EAGAIN, errno.ENOBUFS, errno.EINTR]);

/** Datagrams from `start` on that lie side by side and are alike in length, the last one maybe shorter. */
function runEnd(queue: readonly Uint8Array[], start: number): number {
  const { buffer, byteOffset, length } = queue[start]!;
  const segments = Math.min(SEGMENTS_MAX, Math.floor(SEGMENTED_BYTES_MAX / length));
  const most = Math.min(queue.length, start + segments);
  for (let end = start + 1; end < most; end += 1) {
    const next = queue[end]!;
    const place = byteOffset + (end - start) * length;
    if (next.buffer !== buffer || next.byteOffset !== place || next.length > length) return end;
    if (next.length < length) return end + 1;
  }
  return Math.max(start + 1, most);
}
