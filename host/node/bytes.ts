/**
 * Little-endian cursors over one message. Knows widths and bounds only; a read or a write that does not fit
 * sets a flag instead of throwing, so a decoder checks once at its end.
 */
import { knownAddress } from "../core/address.ts";
import { hexBytes, hexText } from "../core/hex.ts";
import { Slab } from "../core/slab.ts";

export class Reader {
  /** False once anything did not fit. */
  ok = true;
  private offset = 0;

  constructor(private readonly bytes: Uint8Array) {}

  /** Nothing is left and nothing was missing. */
  get atEnd(): boolean {
    return this.ok && this.offset === this.bytes.length;
  }

  get left(): number {
    return this.bytes.length - this.offset;
  }

  u8(): number {
    return this.take(1) ? this.byte(1) : 0;
  }

  u16(): number {
    return this.take(2) ? this.byte(2) + 0x100 * this.byte(1) : 0;
  }

  u32(): number {
    if (!this.take(4)) return 0;
    return (
      this.byte(4) + 0x100 * this.byte(3) + 0x1_0000 * this.byte(2) + 0x100_0000 * this.byte(1)
    );
  }

  /** Eight bytes that hold a number JavaScript counts exactly, below 2^53. */
  count(): number {
    const low = this.u32();
    const high = this.u32();
    this.check(high < 0x20_0000);
    return high * 2 ** 32 + low;
  }

  /** A copy, so that a message outlives the buffer it came in. */
  raw(length: number): Uint8Array {
    if (!this.take(length)) return new Uint8Array(0);
    return this.bytes.slice(this.offset - length, this.offset);
  }

  /** An address of `length` bytes that comes again and again. */
  known(length: number): Uint8Array {
    if (!this.take(length)) return new Uint8Array(0);
    return knownAddress(this.bytes, this.offset - length, length);
  }

  /** `length` bytes as lower-case hexadecimal digits: how NodeId and Epoch are written. */
  hex(length: number): string {
    return this.take(length) ? hexText(this.bytes, this.offset - length, length) : "";
  }

  /** Without a copy: a part of the message's own bytes. */
  part(length: number): Uint8Array {
    return this.take(length)
      ? this.bytes.subarray(this.offset - length, this.offset)
      : new Uint8Array(0);
  }

  /** Reserved bytes: anything but zero is malformed. */
  zero(length: number): void {
    if (!this.take(length)) return;
    for (let back = length; back > 0; back--) this.check(this.byte(back) === 0);
  }

  check(condition: boolean): void {
    this.ok &&= condition;
  }

  /** So many bytes before the place that was reached. */
  private byte(back: number): number {
    return this.bytes[this.offset - back] ?? 0;
  }

  private take(length: number): boolean {
    this.check(length <= this.left);
    if (this.ok) this.offset += length;
    return this.ok;
  }
}

/** What a writer begins with, and all that it keeps for the next message. */
const KEPT_BYTES = 4096;

/** Messages with a blob are cut from arrays of this size: each has a piece of its own. */
const SLAB_BYTES = 65_536;

/** One message after the other, each a copy of its own. */
export class Writer {
  private offset = 0;
  private bytes = new Uint8Array(KEPT_BYTES);
  private view = new DataView(this.bytes.buffer);
  private readonly slab = new Slab(SLAB_BYTES);

  begin(): void {
    this.offset = 0;
  }

  finish(): Uint8Array {
    const { bytes, offset } = this;
    if (bytes.length <= KEPT_BYTES) return this.slab.copy(bytes, 0, offset);
    this.take(new Uint8Array(KEPT_BYTES));
    return bytes.length === offset ? bytes : bytes.slice(0, offset); // A blob fills its array.
  }

  u8(value: number): void {
    this.room(1);
    this.view.setUint8(this.offset - 1, value);
  }

  u16(value: number): void {
    this.room(2);
    this.view.setUint16(this.offset - 2, value, true);
  }

  u32(value: number): void {
    this.room(4);
    this.view.setUint32(this.offset - 4, value, true);
  }

  /** As Reader.count. */
  count(value: number): void {
    this.u32(value % 2 ** 32);
    this.u32(Math.floor(value / 2 ** 32));
  }

  raw(value: Uint8Array): void {
    this.room(value.length);
    this.bytes.set(value, this.offset - value.length);
  }

  /** Exactly `length` bytes from hexadecimal digits. */
  hex(text: string, length: number): void {
    const bytes = hexBytes(text);
    this.room(length);
    this.bytes.set(bytes.length > length ? bytes.subarray(0, length) : bytes, this.offset - length);
  }

  zero(length: number): void {
    this.room(length);
    this.bytes.fill(0, this.offset - length, this.offset);
  }

  private room(length: number): void {
    this.offset += length;
    if (this.offset <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.offset, 2 * this.bytes.length));
    grown.set(this.bytes);
    this.take(grown);
  }

  private take(bytes: Uint8Array<ArrayBuffer>): void {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }
}
