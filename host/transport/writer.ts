/**
 * The datagram being written. Knows where its bytes are; must not know frames. Datagrams are cut from
 * slabs that are never written again, because a socket may hold them for as long as it likes.
 */
import { DATAGRAM_BYTES_MAX, HEADER_BYTES, TAG_BYTES } from "./limits.ts";

const SLAB_BYTES = 65_536;

export class Writer {
  bytes = new Uint8Array(SLAB_BYTES);
  /** Where the next frame goes; an index into `bytes`. */
  offset = 0;
  /** Frames end here at the latest. */
  end = 0;
  /** Counter under which the datagram will be sealed. */
  counter = 0;
  /** It carries something that wants an acknowledgement. */
  isEliciting = false;
  private start = 0;

  begin(counter: number): void {
    if (SLAB_BYTES - this.start < DATAGRAM_BYTES_MAX) {
      this.bytes = new Uint8Array(SLAB_BYTES);
      this.start = 0;
    }
    this.offset = this.start + HEADER_BYTES;
    this.end = this.start + DATAGRAM_BYTES_MAX - TAG_BYTES;
    this.counter = counter;
    this.isEliciting = false;
  }

  get isEmpty(): boolean {
    return this.offset === this.start + HEADER_BYTES;
  }

  get room(): number {
    return this.end - this.offset;
  }

  /** The datagram, with space for its tag; header and tag still to be written. */
  take(): Uint8Array {
    const end = this.offset + TAG_BYTES;
    const datagram = this.bytes.subarray(this.start, end);
    this.start = end;
    return datagram;
  }
}
