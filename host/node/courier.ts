/**
 * Blobs between two other nodes, passed on by the forwarder (DESIGN section 7): those of several chunks while
 * they come, which saves their client half of the way. Knows which flows are being handed over and by whom;
 * must not know what a blob holds.
 *
 * A blob that is not passed on is lost like any other datagram: the forwarder asks its target after T_MOVE,
 * and the target, which has not seen it, refuses it for good.
 */
import type { NodeId, Passage, SendOptions } from "../transport/transport.ts";
import type { BlobHead, BlobMessage } from "./messages.ts";

/** Bytes under way at once; one blob at least always fits. */
const BYTES_MAX = 64 << 20;

export interface CourierWorld {
  readonly self: NodeId;
  /** How long one may take from here to its target. */
  readonly limitUs: number;
  /** Who takes over under the flow, when `source` is giving it away (R13); undefined: nobody. */
  heirOf(source: NodeId, blob: BlobHead): NodeId | undefined;
  /** `bytes`: the encoded message as it came. */
  pass(to: NodeId, blob: BlobMessage, bytes: Uint8Array, how: SendOptions): void;
}

export class Courier {
  /** `begun`: of the passed ones, those whose first chunks left before their last ones had come. */
  readonly counters = { passed: 0, begun: 0, refused: 0, full: 0 };
  #bytes = 0;

  constructor(private readonly world: CourierWorld) {}

  /**
   * The first chunk of a blob of `length` bytes is here: its way on. Undefined: not now, or not at all; it is
   * looked at again when it is whole.
   */
  begin(source: NodeId, blob: BlobHead, length: number): Passage | undefined {
    const heir = this.world.heirOf(source, blob);
    if (heir === undefined || heir === this.world.self || !this.#hasRoom(length)) return undefined;
    this.counters.begun++;
    const isWanted = (): boolean => this.world.heirOf(source, blob) === heir;
    return { to: heir, isWanted, ...this.#take(length) };
  }

  /** A whole one. */
  handle(source: NodeId, blob: BlobMessage, bytes: Uint8Array): void {
    const heir = this.world.heirOf(source, blob);
    if (heir === undefined) {
      this.counters.refused++;
      return;
    }
    const { length } = bytes;
    if (!this.#hasRoom(length)) {
      this.counters.full++;
      return;
    }
    this.world.pass(heir, blob, bytes, this.#take(length));
  }

  #hasRoom(length: number): boolean {
    return this.#bytes === 0 || this.#bytes + length <= BYTES_MAX;
  }

  #take(length: number): SendOptions {
    this.counters.passed++;
    this.#bytes += length;
    // Later it is resolved, and refused for good where it did not arrive.
    return { limitUs: this.world.limitUs, onOutcome: () => (this.#bytes -= length) };
  }
}
