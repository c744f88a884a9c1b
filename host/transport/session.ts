/**
 * Everything between this boot epoch and one of a peer: keys, replay windows, both halves. Knows sealed
 * datagrams; must not know hellos, endpoints or how an epoch is proved.
 *
 *      0               1               2                               7
 *     +---------------+---------------+-------------------------------+
 *   0 | 0xba          | 0x12          | session tag (6)               |
 *     +---------------+---------------+-------------------------------+
 *   8 | sender id (8)                                                 |
 *  16 | counter (8)                                                   |
 *     +---------------------------------------------------------------+
 *  24 | frames, AES-256-GCM                                           |
 *     | tag (16); the 24 bytes before are authenticated with it       |
 *     +---------------------------------------------------------------+
 */
import type { Cipher } from "../node/environment.ts";
import { getU16, getU32, getU48, putU48, putU64 } from "./bytes.ts";
import type { TransportCounters } from "./counters.ts";
import * as frame from "./frame.ts";
import { MAGIC, TYPE_SEALED } from "./hello.ts";
import { Incoming, type Passing, type ReassemblyPool } from "./incoming.ts";
import { KeyRing, writeNonce } from "./keys.ts";
import { HEADER_BYTES, TAG_BYTES, type TransportLimits } from "./limits.ts";
import type { Arriving } from "./message.ts";
import type { Outgoing } from "./outgoing.ts";
import { ReplayWindow } from "./replay.ts";
import { UnreliableReceiver, type UnreliableSender } from "./unreliable.ts";
import type { Writer } from "./writer.ts";

/** What the sessions of one transport share. */
export interface SessionShared {
  readonly cipher: Cipher;
  readonly limits: TransportLimits;
  readonly counters: TransportCounters;
  readonly pool: ReassemblyPool;
  readonly writer: Writer;
  readonly idBytes: Uint8Array;
  readonly id: string;
  readonly epoch: string;
  readonly worker: number;
  /** Scratch: what the last datagram held, and the nonce of the one at hand. */
  readonly plain: Uint8Array;
  readonly nonce: Uint8Array;
}

/** Counter of datagrams sealed for one peer. Outlives sessions: no counter is ever used twice. */
export interface SealCounter {
  next: number;
}

/** One cluster key's view of what the peer sends. */
export interface Opener {
  readonly session: Session;
  readonly ring: KeyRing;
  readonly replay: ReplayWindow;
}

export class Session {
  readonly peer: string;
  readonly epoch: string;
  readonly outgoing: Outgoing;
  readonly incoming: Incoming;
  readonly openers: Opener[] = [];
  isClosed = false;
  private readonly shared: SessionShared;
  private readonly unreliable: UnreliableSender;
  private readonly parts: UnreliableReceiver;
  private readonly counter: SealCounter;
  private readonly deliver: (bytes: Uint8Array) => void;
  private sealer: KeyRing | undefined;
  /** Counter of the newest datagram opened, and of the newest that carried an ACK. */
  private newest = -1;
  private newestAck = -1;

  constructor(
    shared: SessionShared,
    peer: { readonly id: string; readonly epoch: string; readonly counter: SealCounter },
    halves: { readonly outgoing: Outgoing; readonly unreliable: UnreliableSender },
    events: {
      readonly deliver: (bytes: Uint8Array) => void;
      readonly wake: () => void;
      readonly passOn: (message: Arriving) => Passing | undefined;
    },
  ) {
    this.shared = shared;
    this.peer = peer.id;
    this.epoch = peer.epoch;
    this.counter = peer.counter;
    this.outgoing = halves.outgoing;
    this.unreliable = halves.unreliable;
    this.deliver = events.deliver;
    this.incoming = new Incoming(shared.limits, shared.counters, shared.pool, events);
    this.parts = new UnreliableReceiver(shared.limits, shared.counters);
  }

  /** The first key seals, any of them opens. Keys that stay keep their replay windows. */
  setKeys(keys: readonly Uint8Array[]): void {
    const { shared } = this;
    const names = { worker: shared.worker };
    const out = {
      ...names,
      sender: shared.id,
      receiver: this.peer,
      senderEpoch: shared.epoch,
      receiverEpoch: this.epoch,
    };
    const back = {
      ...names,
      sender: this.peer,
      receiver: shared.id,
      senderEpoch: this.epoch,
      receiverEpoch: shared.epoch,
    };
    const first = keys[0]!;
    if (!this.sealer || !sameKey(this.sealer.direction.clusterKey, first)) {
      this.sealer?.close();
      this.sealer = this.ring({ ...out, clusterKey: first });
    }
    const old = this.openers.splice(0);
    for (const key of keys) {
      const index = old.findIndex(({ ring }) => sameKey(ring.direction.clusterKey, key));
      this.openers.push(
        index >= 0
          ? old.splice(index, 1)[0]!
          : {
              session: this,
              ring: this.ring({ ...back, clusterKey: key }),
              replay: new ReplayWindow(),
            },
      );
    }
    for (const { ring } of old) ring.close();
  }

  close(): void {
    this.isClosed = true;
    this.incoming.close();
    this.sealer?.close();
    for (const { ring } of this.openers) ring.close();
  }

  /** The next datagram, sealed; undefined when nothing may leave now. */
  poll(nowUs: number): Uint8Array | undefined {
    const { shared, incoming, outgoing } = this;
    const { writer } = shared;
    writer.begin(this.counter.next);
    if (incoming.acks.isDue(nowUs)) incoming.writeAcks(writer, nowUs);
    this.unreliable.write(writer);
    outgoing.write(writer, nowUs);
    if (writer.isEmpty) return undefined;
    if (incoming.acks.isPending) incoming.writeAcks(writer, nowUs);
    if (writer.isEliciting) outgoing.recovery.datagramSent(writer.counter, nowUs);
    return this.seal(writer);
  }

  /** Opens a datagram of at least header and tag, whose session tag this opener's is. */
  handleDatagram(opener: Opener, counter: number, bytes: Uint8Array, nowUs: number): void {
    const { counters, limits, nonce, plain } = this.shared;
    if (!opener.replay.isFresh(counter)) {
      counters.replayed += 1;
      return;
    }
    const aead = opener.ring.forOpening(counter);
    writeNonce(nonce, counter);
    const length = aead ? aead.open(nonce, bytes, HEADER_BYTES, plain) : -1;
    if (length < 0) {
      counters.forged += 1;
      return;
    }
    opener.replay.accept(counter);
    opener.ring.opened(counter);
    const kind = frame.checkFrames(plain, length, limits.messageBytesMax);
    if (kind === frame.MALFORMED) {
      counters.malformed += 1;
      return;
    }
    counters.opened += 1;
    const isGap = counter !== this.newest + 1 && this.newest >= 0;
    this.newest = Math.max(this.newest, counter);
    if (kind === frame.ELICITING) this.incoming.acks.datagramCame(counter, nowUs, isGap);
    this.handleFrames(length, counter, nowUs);
  }

  nextTimeoutUs(nowUs: number): number {
    return Math.min(this.incoming.acks.nextTimeoutUs(), this.outgoing.nextTimeoutUs(nowUs));
  }

  private handleFrames(length: number, counter: number, nowUs: number): void {
    const { limits, plain } = this.shared;
    let hasAcks = false;
    /** Delivered last: what a message makes its receiver do must find every frame handled. */
    let messages: Uint8Array[] | undefined;
    let size = 0;
    for (let offset = 0; offset < length; offset += size) {
      size = frame.frameLength(plain, offset, length, limits.messageBytesMax);
      const type = plain[offset];
      if (type === frame.FRAME_CHUNK || type === frame.FRAME_UNRELIABLE) {
        const message =
          type === frame.FRAME_CHUNK
            ? this.incoming.handleChunk(plain, offset, nowUs)
            : this.parts.handleFrame(plain, offset, nowUs);
        if (message && type === frame.FRAME_UNRELIABLE) this.shared.counters.unreliableIn += 1;
        if (message) (messages ??= []).push(message);
      } else {
        hasAcks = this.handleControl(offset, counter, nowUs) || hasAcks;
      }
    }
    if (hasAcks) this.outgoing.recovery.detectLosses(nowUs);
    if (messages) for (const message of messages) if (!this.isClosed) this.deliver(message);
  }

  /** Returns whether the frame acknowledges something. */
  private handleControl(offset: number, counter: number, nowUs: number): boolean {
    const { outgoing, incoming } = this;
    const { plain } = this.shared;
    const number = offset + 1;
    switch (plain[offset]) {
      case frame.FRAME_LOW:
        incoming.handleLow(getU48(plain, number));
        return false;
      case frame.FRAME_DROP:
        incoming.handleDrop(getU48(plain, number), nowUs);
        return false;
      case frame.FRAME_ACK:
        outgoing.recovery.acked(getU48(plain, offset + 5), getU32(plain, offset + 11), nowUs);
        if (counter > this.newestAck) {
          this.newestAck = counter;
          outgoing.handleWindow(getU32(plain, number));
        }
        return true;
      case frame.FRAME_DONE:
        outgoing.handleDone(getU48(plain, number), plain, offset + 8, plain[offset + 7]!);
        return true;
      default: {
        const base = getU16(plain, offset + 7);
        const count = plain[offset + 9]!;
        outgoing.handlePart(getU48(plain, number), base, plain, offset + 10, count);
        return true;
      }
    }
  }

  private seal(writer: Writer): Uint8Array {
    const { counters, idBytes, nonce } = this.shared;
    const { counter } = writer;
    this.counter.next = counter + 1;
    const datagram = writer.take();
    const ring = this.sealer!;
    datagram[0] = MAGIC;
    datagram[1] = TYPE_SEALED;
    putU48(datagram, 2, ring.tag);
    datagram.set(idBytes, 8);
    putU64(datagram, 16, counter);
    writeNonce(nonce, counter);
    ring.forSending(counter).seal(nonce, datagram, HEADER_BYTES, datagram.length - TAG_BYTES);
    counters.datagramsOut += 1;
    counters.bytesOut += datagram.length;
    return datagram;
  }

  private ring(direction: KeyRing["direction"]): KeyRing {
    return new KeyRing(this.shared.cipher, direction, this.shared.limits.rekeyAfter);
  }
}

function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
