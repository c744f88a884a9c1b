/**
 * Datagrams of connected UDP sockets by system calls: a third of what dgram takes for each. Knows sendmsg's and
 * recvmmsg's structures and keeps every byte that the kernel sees in arrays that do not move; must not know
 * whose sockets these are. recvmmsg(2).
 */
import { EAGAIN } from "../linux/errno.ts";
import { libc, type Libc, MSG_DONTWAIT } from "../linux/libc.ts";

/** Taken by one call. */
const BATCH = 32;
/** Calls in a row: nobody else gets the loop meanwhile. */
const CALLS_MAX = 8;
/** Longer than any of ours; what is cut off is too long for whoever reads it. */
const SLOT_BYTES = 2048;
const SEND_BYTES_MAX = 65_536;

/** struct mmsghdr and struct iovec, where an address has 64 bits; struct sockaddr_in6 is the longest name. */
const MMSGHDR_BYTES = 64;
const NAME_LENGTH_AT = 8;
const NAME_BYTES = 32;
const SOCKADDR_BYTES_MAX = 28;
const IOVEC_AT = 16;
const IOVEC_COUNT_AT = 24;
const LENGTH_AT = 56;
const IOVEC_BYTES = 16;
const NAMES_AT = BATCH * (MMSGHDR_BYTES + IOVEC_BYTES);

export class Datagrams {
  readonly #libc: Libc = libc();
  readonly #slots = new Uint8Array(new ArrayBuffer(BATCH * SLOT_BYTES));
  readonly #headers = new DataView(new ArrayBuffer(65_536)); // smaller ones may lie in V8's heap
  readonly #names: readonly Uint8Array[];
  readonly #out = new Uint8Array(new ArrayBuffer(SEND_BYTES_MAX));
  readonly #headersAt: number;
  readonly #outAt: number;

  /** Throws where system calls cannot be had. */
  constructor() {
    const headers = new Uint8Array(this.#headers.buffer);
    this.#headersAt = this.#libc.address(headers);
    this.#outAt = this.#libc.address(this.#out);
    const slotsAt = this.#libc.address(this.#slots);
    const iovecs = BATCH * MMSGHDR_BYTES;
    this.#names = Array.from({ length: BATCH }, (_, index) =>
      headers.subarray(NAMES_AT + index * NAME_BYTES, NAMES_AT + (index + 1) * NAME_BYTES),
    );
    for (let index = 0; index < BATCH; index += 1) {
      const iovec = iovecs + index * IOVEC_BYTES;
      const header = index * MMSGHDR_BYTES;
      this.#put(header, this.#headersAt + NAMES_AT + index * NAME_BYTES);
      this.#headers.setUint32(header + NAME_LENGTH_AT, SOCKADDR_BYTES_MAX, true);
      this.#put(header + IOVEC_AT, this.#headersAt + iovec);
      this.#put(header + IOVEC_COUNT_AT, 1);
      this.#put(iovec, slotsAt + index * SLOT_BYTES);
      this.#put(iovec + 8, SLOT_BYTES);
    }
  }

  /** Bytes sent, or -errno. */
  send(fd: number, bytes: Uint8Array): number {
    this.#out.set(bytes);
    return this.#libc.write(fd, this.#outAt, bytes.length);
  }

  /**
   * Hands over what waits, up to a bound; each array is the taker's own.
   * @param take gets the sender's sockaddr too, which the next datagram replaces
   * @returns 0, or the -errno that ended it: something may still wait
   */
  receive(fd: number, take: (bytes: Uint8Array, name: Uint8Array) => void): number {
    for (let call = 0; call < CALLS_MAX; call += 1) {
      const count = this.#libc.recvmmsg(fd, this.#headersAt, BATCH, MSG_DONTWAIT);
      if (count < 0) return count === -EAGAIN ? 0 : count;
      for (let index = 0; index < count; index += 1) {
        const header = index * MMSGHDR_BYTES;
        const length = this.#headers.getUint32(header + LENGTH_AT, true);
        const start = index * SLOT_BYTES;
        take(this.#slots.slice(start, start + length), this.#names[index] as Uint8Array);
        this.#headers.setUint32(header + NAME_LENGTH_AT, SOCKADDR_BYTES_MAX, true);
      }
      if (count < BATCH) return 0;
    }
    return 0;
  }

  #put(at: number, value: number): void {
    this.#headers.setBigUint64(at, BigInt(value), true);
  }
}
