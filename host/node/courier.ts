/**
 * Blobs between two other nodes, passed on by the forwarder (DESIGN section 7). Knows which flows are being
 * handed over and by whom; must not know what a blob holds.
 *
 * A blob that is not passed on is lost like any other datagram: the forwarder asks its target after T_MOVE,
 * and the target, which has not seen it, refuses it for good.
 */
import type { NodeId, Outcome } from "../transport/transport.ts";
import type { BlobMessage } from "./messages.ts";

/** Bytes under way at once; one blob at least always fits. */
const BYTES_MAX = 64 << 20;

export interface CourierWorld {
  /** Who takes over under the flow, when `source` is giving it away (R13); undefined: nobody. */
  heirOf(source: NodeId, blob: BlobMessage): NodeId | undefined;
  /** `bytes`: the encoded message as it came. */
  pass(
    to: NodeId,
    blob: BlobMessage,
    bytes: Uint8Array,
    onOutcome: (outcome: Outcome) => void,
  ): void;
}

export class Courier {
  readonly counters = { passed: 0, refused: 0, full: 0 };
  #bytes = 0;

  constructor(private readonly world: CourierWorld) {}

  handle(source: NodeId, blob: BlobMessage, bytes: Uint8Array): void {
    const heir = this.world.heirOf(source, blob);
    if (heir === undefined) {
      this.counters.refused++;
      return;
    }
    const { length } = bytes;
    if (this.#bytes > 0 && this.#bytes + length > BYTES_MAX) {
      this.counters.full++;
      return;
    }
    this.counters.passed++;
    this.#bytes += length;
    this.world.pass(heir, blob, bytes, () => (this.#bytes -= length));
  }
}
