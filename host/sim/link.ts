/**
 * A link on the simulated network: what a TUN device is to a daemon. Knows queues of packets; must not
 * know what they mean beyond where their destination address stands.
 */
import type { PacketBatch } from "../core/batch.ts";
import type { Link } from "../link/link.ts";
import type { Network } from "./network.ts";
import { addressText } from "./packet.ts";
import { slab } from "./slab.ts";

const QUEUE_MAX = 4096;

export class SimLink implements Link {
  readonly name: string;
  readonly mtu: number;
  readonly gso = false;
  readonly counters = { received: 0, transmitted: 0, overflowed: 0 };
  readonly #network: Network;
  #queue: Uint8Array[] = [];
  #readable: () => void = () => undefined;

  constructor(network: Network, place: string, mtu = 1500) {
    this.name = place;
    this.mtu = mtu;
    this.#network = network;
    network.attach(place, (bytes) => this.#arrive(bytes));
  }

  receive(batch: PacketBatch): number {
    const count = Math.min(batch.length, this.#queue.length);
    for (let index = 0; index < count; index++) {
      const bytes = this.#queue[index] as Uint8Array;
      batch.memory.set(bytes, batch.ptr(index));
      batch.setLen(index, bytes.length);
      batch.setOffload(index, 0, 0, 0, 0, 0, 0);
    }
    if (count > 0) this.#queue = this.#queue.slice(count);
    this.counters.received += count;
    return count;
  }

  get drained(): boolean {
    return this.#queue.length === 0;
  }

  transmit(batch: PacketBatch, index: number): boolean {
    const ptr = batch.ptr(index);
    const bytes = slab.copy(batch.memory, ptr, ptr + batch.len(index));
    this.counters.transmitted++;
    this.#network.sendTo(this.name, destination(bytes), bytes);
    return true;
  }

  flush(): void {
    // Nothing is gathered: transmit sends at once.
  }

  onReadable(callback: () => void): void {
    this.#readable = callback;
  }

  onError(): void {
    // A simulated device does not break; a crash takes the whole node.
  }

  close(): void {
    this.#network.detach(this.name);
    this.#queue = [];
  }

  #arrive(bytes: Uint8Array): void {
    if (this.#queue.length >= QUEUE_MAX) {
      this.counters.overflowed++;
      return;
    }
    this.#queue.push(bytes);
    this.#readable();
  }
}

/** Text of the destination address of an IP packet of either version. */
export function destination(bytes: Uint8Array): string {
  const isV4 = (bytes[0] ?? 0) >> 4 === 4;
  return isV4 ? addressText(bytes, 16, 4) : addressText(bytes, 24, 16);
}
