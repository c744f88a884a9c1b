/**
 * The hello datagram: how two nodes learn each other's boot epoch. Knows its bytes and its code of
 * authentication; must not know when one is sent. RFC 2104 (HMAC), RFC 5869 (HKDF).
 *
 *      0               1               2               3
 *     +---------------+---------------+---------------+---------------+
 *   0 | 0xba          | 0x11          | worker                        |
 *     +---------------+---------------+---------------+---------------+
 *   4 | window: reassembly bytes that the receiver of this may use    |
 *     +---------------+---------------+---------------+---------------+
 *   8 | sender id (8)                                                 |
 *  16 | receiver id (8)                                               |
 *  24 | sender's boot epoch (16)                                      |
 *  40 | receiver's boot epoch as the sender knows it (16), or zeros   |
 *  56 | challenge (16): to be echoed by the receiver; zeros: none     |
 *  72 | echo (16): the challenge of the hello that this answers       |
 *  88 | HMAC-SHA256 over the bytes before, first 16 bytes             |
 *     +---------------------------------------------------------------+
 */
import type { Cipher } from "../node/environment.ts";
import { getU16, getU32, isZero, putU16, putU32, sameBytes, toHex } from "./bytes.ts";

export const MAGIC = 0xba;
/** Version 1 in the high half, the kind of datagram in the low one. */
export const TYPE_HELLO = 0x11;
export const TYPE_SEALED = 0x12;

export const HELLO_BYTES = 104;
export const NONCE_BYTES = 16;
const MAC_OFFSET = 88;
const MAC_BYTES = 16;

export interface Hello {
  readonly worker: number;
  readonly windowBytes: number;
  readonly sender: string;
  readonly receiver: string;
  readonly senderEpoch: string;
  /** Zeros when the sender knows none. */
  readonly receiverEpoch: string;
  readonly challenge: Uint8Array | undefined;
  readonly echo: Uint8Array | undefined;
}

/** Names are bytes here: the caller holds them as such. */
export interface HelloFields {
  readonly worker: number;
  readonly windowBytes: number;
  readonly sender: Uint8Array;
  readonly receiver: Uint8Array;
  readonly senderEpoch: Uint8Array;
  readonly receiverEpoch: Uint8Array | undefined;
  readonly challenge: Uint8Array | undefined;
  readonly echo: Uint8Array | undefined;
}

export function writeHello(cipher: Cipher, helloKey: Uint8Array, fields: HelloFields): Uint8Array {
  const bytes = new Uint8Array(HELLO_BYTES);
  bytes[0] = MAGIC;
  bytes[1] = TYPE_HELLO;
  putU16(bytes, 2, fields.worker);
  putU32(bytes, 4, fields.windowBytes);
  bytes.set(fields.sender, 8);
  bytes.set(fields.receiver, 16);
  bytes.set(fields.senderEpoch, 24);
  if (fields.receiverEpoch) bytes.set(fields.receiverEpoch, 40);
  if (fields.challenge) bytes.set(fields.challenge, 56);
  if (fields.echo) bytes.set(fields.echo, 72);
  const mac = cipher.hmac(helloKey, bytes.subarray(0, MAC_OFFSET));
  bytes.set(mac.subarray(0, MAC_BYTES), MAC_OFFSET);
  return bytes;
}

/** Whether one of the keys authenticates a datagram of HELLO_BYTES. */
export function helloIsAuthentic(
  cipher: Cipher,
  helloKeys: readonly Uint8Array[],
  bytes: Uint8Array,
): boolean {
  const covered = bytes.subarray(0, MAC_OFFSET);
  return helloKeys.some((key) =>
    sameBytes(cipher.hmac(key, covered), 0, bytes, MAC_OFFSET, MAC_BYTES),
  );
}

export function readHello(bytes: Uint8Array): Hello {
  const nonce = (offset: number) =>
    isZero(bytes, offset, NONCE_BYTES) ? undefined : bytes.slice(offset, offset + NONCE_BYTES);
  return {
    worker: getU16(bytes, 2),
    windowBytes: getU32(bytes, 4),
    sender: toHex(bytes, 8, 8),
    receiver: toHex(bytes, 16, 8),
    senderEpoch: toHex(bytes, 24, 16),
    receiverEpoch: toHex(bytes, 40, 16),
    challenge: nonce(56),
    echo: nonce(72),
  };
}
