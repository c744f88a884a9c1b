/**
 * Many datagrams in one system call: the arrays that sendmmsg(2) and recvmmsg(2) work on, built once.
 * Knows the layouts of struct mmsghdr and iovec; must not know what the datagrams are, nor who sends them.
 *
 *   mmsghdr[count]  { name u64, nameLen u32, -, iov u64, iovLen u64, control u64 x 2, flags u32, -, length u32, - }
 *   iovec[count]    { base u64, len u64 }
 *   name[count]     struct sockaddr_in or sockaddr_in6, 32 bytes each
 *   control[count]  struct cmsghdr { len u64, level u32, type u32 } and a u16, padded to 24 bytes
 */
import { libc, type Libc, MSG_DONTWAIT } from "./libc.ts";

const MMSGHDR_BYTES = 64;
const NAME_LENGTH_AT = 8;
const IOVEC_AT = 16;
const IOVEC_COUNT_AT = 24;
const CONTROL_AT = 32;
const CONTROL_LENGTH_AT = 40;
const LENGTH_AT = 56;
const IOVEC_BYTES = 16;
/** struct sockaddr_in6, rounded up. */
const NAME_BYTES = 32;
const CONTROL_BYTES = 24;
const CMSG_LENGTH = 18;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;

export class MessageArray {
  readonly count: number;
  /** Everything that the kernel reads and writes here. */
  readonly bytes: Uint8Array;
  readonly #libc: Libc = libc();
  readonly #words: Uint32Array;
  readonly #base: number;
  readonly #iovecs: number;
  readonly #names: number;
  readonly #controls: number;
  #memory: ArrayBufferLike | undefined;
  #memoryAddress = 0;

  constructor(count: number) {
    this.count = count;
    this.#iovecs = count * MMSGHDR_BYTES;
    this.#names = this.#iovecs + count * IOVEC_BYTES;
    this.#controls = this.#names + count * NAME_BYTES;
    this.bytes = new Uint8Array(new ArrayBuffer(this.#controls + count * CONTROL_BYTES));
    this.#words = new Uint32Array(this.bytes.buffer);
    this.#base = this.#libc.address(this.bytes);
    for (let index = 0; index < count; index += 1) {
      const message = index * MMSGHDR_BYTES;
      this.#put64(message + IOVEC_AT, this.#base + this.#iovecs + index * IOVEC_BYTES);
      this.#put64(message + IOVEC_COUNT_AT, 1);
      const control = this.#controls + index * CONTROL_BYTES;
      this.#put64(message + CONTROL_AT, this.#base + control);
      this.#put64(control, CMSG_LENGTH);
      this.#words[control / 4 + 2] = SOL_UDP;
      this.#words[control / 4 + 3] = UDP_SEGMENT;
    }
  }

  /** Where the bytes of message `index` are: `length` bytes from `start` of the memory behind `bytes`. */
  point(index: number, bytes: Uint8Array, start: number, length: number): void {
    if (bytes.buffer !== this.#memory) {
      this.#memory = bytes.buffer;
      this.#memoryAddress = this.#libc.address(new Uint8Array(bytes.buffer));
    }
    const iovec = this.#iovecs + index * IOVEC_BYTES;
    this.#put64(iovec, this.#memoryAddress + bytes.byteOffset + start);
    this.#put64(iovec + 8, length);
  }

  /** Gives message `index` an address of so many bytes; returns where in `bytes` they go. */
  name(index: number, length: number): number {
    const at = this.#names + index * NAME_BYTES;
    this.#put64(index * MMSGHDR_BYTES, this.#base + at);
    this.#words[(index * MMSGHDR_BYTES + NAME_LENGTH_AT) / 4] = length;
    return at;
  }

  /** Message `index` is datagrams of so many bytes each, the last one maybe shorter; 0: it is one. */
  segment(index: number, length: number): void {
    this.#words[(this.#controls + index * CONTROL_BYTES + 16) / 4] = length;
    const controlLength = length > 0 ? CONTROL_BYTES : 0;
    this.#words[(index * MMSGHDR_BYTES + CONTROL_LENGTH_AT) / 4] = controlLength;
  }

  /** Sends messages from `first` up to `end`: how many went, or -errno of that first one. */
  send(fd: number, first: number, end: number): number {
    const at = this.#base + first * MMSGHDR_BYTES;
    return this.#libc.sendmmsg(fd, at, end - first, MSG_DONTWAIT);
  }

  /** Receives into all messages: how many came, or -errno. */
  receive(fd: number): number {
    return this.#libc.recvmmsg(fd, this.#base, this.count, MSG_DONTWAIT);
  }

  /** Bytes that `point` gave message `index`. */
  pointed(index: number): number {
    return this.#words[(this.#iovecs + index * IOVEC_BYTES + 8) / 4]!;
  }

  /** Bytes of message `index` that the last `receive` brought. */
  received(index: number): number {
    return this.#words[(index * MMSGHDR_BYTES + LENGTH_AT) / 4]!;
  }

  /** Writes a u64; numbers up to 2^53 cover every user-space address. */
  #put64(at: number, value: number): void {
    this.#words[at / 4] = value; // stored modulo 2^32
    this.#words[at / 4 + 1] = Math.floor(value / 2 ** 32);
  }
}
