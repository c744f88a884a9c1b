/**
 * Datagrams of connected UDP sockets by system calls: a third of what dgram takes for each. Keeps every byte
 * that the kernel sees in arrays that do not move; must not know whose sockets these are. recvmmsg(2).
 */
import { Slab } from "../core/slab.ts";
import { EAGAIN } from "../linux/errno.ts";
import { libc, type Libc } from "../linux/libc.ts";
import { MessageArray } from "../linux/mmsg.ts";

/** Taken by one call. */
const BATCH = 32;
/** Calls in a row: nobody else gets the loop meanwhile. */
const CALLS_MAX = 8;
/** Longer than any of ours; what is cut off is too long for whoever reads it. */
const SLOT_BYTES = 2048;
const SEND_BYTES_MAX = 65_536;
/** What is handed over is cut from arrays of this size: one for each datagram would be most of the collector's work. */
const SLAB_BYTES = 65_536;
/** struct sockaddr_in6, the longest name. */
const SOCKADDR_BYTES_MAX = 28;

export class Datagrams {
  readonly #libc: Libc = libc();
  readonly #messages = new MessageArray(BATCH);
  readonly #slots = new Uint8Array(new ArrayBuffer(BATCH * SLOT_BYTES));
  readonly #names: readonly Uint8Array[];
  readonly #out = new Uint8Array(new ArrayBuffer(SEND_BYTES_MAX));
  readonly #slab = new Slab(SLAB_BYTES);
  readonly #outAt: number;

  /** Throws where system calls cannot be had. */
  constructor() {
    this.#outAt = this.#libc.address(this.#out);
    this.#names = Array.from({ length: BATCH }, (_, index) => {
      this.#messages.point(index, this.#slots, index * SLOT_BYTES, SLOT_BYTES);
      const at = this.#messages.name(index, SOCKADDR_BYTES_MAX);
      return this.#messages.bytes.subarray(at, at + SOCKADDR_BYTES_MAX);
    });
  }

  /** Bytes sent, or -errno. */
  send(fd: number, bytes: Uint8Array): number {
    this.#out.set(bytes);
    return this.#libc.write(fd, this.#outAt, bytes.length);
  }

  /**
   * Hands over what waits, up to a bound; each array is the taker's own part of a larger one.
   * @param take gets the sender's sockaddr too, which the next datagram replaces
   * @returns 0, or the -errno that ended it: something may still wait
   */
  receive(fd: number, take: (bytes: Uint8Array, name: Uint8Array) => void): number {
    for (let call = 0; call < CALLS_MAX; call += 1) {
      const count = this.#messages.receive(fd);
      if (count < 0) return count === -EAGAIN ? 0 : count;
      for (let index = 0; index < count; index += 1) {
        const start = index * SLOT_BYTES;
        take(
          this.#slab.copy(this.#slots, start, start + this.#messages.received(index)),
          this.#names[index]!,
        );
        this.#messages.name(index, SOCKADDR_BYTES_MAX); // the kernel wrote how long this one was
      }
      if (count < BATCH) return 0;
    }
    return 0;
  }
}
