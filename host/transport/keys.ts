/**
 * The key schedule: what each direction of each pair of boot epochs is sealed under, and the tag that
 * names it on the wire. Knows keys and counters; must not know frames. RFC 5869, NIST SP 800-38D.
 *
 *   names = sender id (8) || receiver id (8) || worker (2) || direction (1)
 *   salt  = sender epoch (16) || receiver epoch (16)
 *   key   = HKDF(cluster key, salt, "baton transport 1" || names || generation (4), 32)
 *   tag   = HKDF(cluster key, salt, "baton session 1" || names, 6)
 *   hello = HKDF(cluster key, "", "baton hello 1", 32)
 *
 * direction is 0 when the sender's id is the lesser of both, else 1. generation is the counter of the
 * datagram divided by 2^28, so both ends change the key at the same datagram without saying so.
 */
import type { Aead, Cipher } from "../node/environment.ts";
import { concat, fromHex, getU48, putU16, putU32, putU64 } from "./bytes.ts";
import type { NodeId } from "./transport.ts";

export const CLUSTER_KEY_BYTES = 32;
export const NONCE_BYTES_GCM = 12;

/** One direction of one pair of epochs under one cluster key. */
export interface Direction {
  readonly clusterKey: Uint8Array;
  readonly sender: NodeId;
  readonly receiver: NodeId;
  readonly senderEpoch: string;
  readonly receiverEpoch: string;
  readonly worker: number;
}

const text = (ascii: string): Uint8Array => Uint8Array.from(ascii, (char) => char.charCodeAt(0));
const INFO_KEY = text("baton transport 1");
const INFO_TAG = text("baton session 1");
const INFO_HELLO = text("baton hello 1");

export function helloKey(cipher: Cipher, clusterKey: Uint8Array): Uint8Array {
  return cipher.hkdf(clusterKey, new Uint8Array(0), INFO_HELLO, 32);
}

/** 48 bits that name sender, receiver, both epochs, worker and cluster key at once. */
export function sessionTag(cipher: Cipher, direction: Direction): number {
  const info = concat(INFO_TAG, names(direction));
  return getU48(cipher.hkdf(direction.clusterKey, salt(direction), info, 6), 0);
}

export function sessionKey(cipher: Cipher, direction: Direction, generation: number): Uint8Array {
  const number = new Uint8Array(4);
  putU32(number, 0, generation);
  const info = concat(INFO_KEY, names(direction), number);
  return cipher.hkdf(direction.clusterKey, salt(direction), info, 32);
}

/** The 96-bit nonce: 32 zero bits and the counter. */
export function writeNonce(nonce: Uint8Array, counter: number): void {
  putU64(nonce, 4, counter);
}

function names(direction: Direction): Uint8Array {
  const tail = new Uint8Array(3);
  putU16(tail, 0, direction.worker);
  tail[2] = direction.sender < direction.receiver ? 0 : 1;
  return concat(fromHex(direction.sender), fromHex(direction.receiver), tail);
}

function salt(direction: Direction): Uint8Array {
  return concat(fromHex(direction.senderEpoch), fromHex(direction.receiverEpoch));
}

/** Keys of one direction by generation. Holds three at most: the newest, the one before, one to come. */
export class KeyRing {
  readonly tag: number;
  readonly direction: Direction;
  private readonly cipher: Cipher;
  private readonly rekeyAfter: number;
  private readonly aeads = new Map<number, Aead>();
  private newest = -1;

  constructor(cipher: Cipher, direction: Direction, rekeyAfter: number) {
    this.cipher = cipher;
    this.direction = direction;
    this.rekeyAfter = rekeyAfter;
    this.tag = sessionTag(cipher, direction);
  }

  /** The key of a counter that this end is about to use: older ones are not needed again. */
  forSending(counter: number): Aead {
    const generation = this.generation(counter);
    const aead = this.get(generation);
    if (generation !== this.newest) this.advance(generation);
    return aead;
  }

  /**
   * The key that a received counter claims, undefined when it is too far from the newest proved one
   * (the first may be any: the counter goes on when a session follows another).
   */
  forOpening(counter: number): Aead | undefined {
    const generation = this.generation(counter);
    if (this.newest < 0) {
      // Nothing proved yet: forgeries must not fill the ring.
      for (const old of this.aeads.keys()) if (old !== generation) this.forget(old);
      return this.get(generation);
    }
    const distance = generation - this.newest;
    return distance >= -1 && distance <= 1 ? this.get(generation) : undefined;
  }

  /** The datagram with this counter proved authentic. */
  opened(counter: number): void {
    const generation = this.generation(counter);
    if (generation > this.newest) this.advance(generation);
  }

  close(): void {
    for (const generation of [...this.aeads.keys()]) this.forget(generation);
  }

  private generation(counter: number): number {
    return Math.floor(counter / this.rekeyAfter);
  }

  private get(generation: number): Aead {
    let aead = this.aeads.get(generation);
    if (!aead) {
      aead = this.cipher.aead(sessionKey(this.cipher, this.direction, generation));
      this.aeads.set(generation, aead);
    }
    return aead;
  }

  private advance(generation: number): void {
    this.newest = generation;
    for (const old of [...this.aeads.keys()]) if (old < generation - 1) this.forget(old);
  }

  private forget(generation: number): void {
    this.aeads.get(generation)?.close();
    this.aeads.delete(generation);
  }
}
