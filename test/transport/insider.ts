/** A node that has the cluster key and misbehaves: it seals whatever it likes. */
import { putU48, putU64 } from "../../host/transport/bytes.ts";
import { KeyRing, writeNonce } from "../../host/transport/keys.ts";
import { cipher, KEY, type Station } from "./network.ts";

/** Seals frames as `from` would for `to`, each under the next counter. */
export function insider(from: Station, to: Station): (frames: Uint8Array) => Uint8Array {
  const ring = new KeyRing(
    cipher,
    {
      clusterKey: KEY,
      sender: from.id,
      receiver: to.id,
      senderEpoch: from.transport.epoch,
      receiverEpoch: to.transport.epoch,
      worker: 0,
    },
    2 ** 28,
  );
  let counter = 3_000; // Ahead, and not so far that the real ones look like replays.
  return (frames) => {
    const datagram = new Uint8Array(24 + frames.length + 16);
    datagram[0] = 0xba;
    datagram[1] = 0x12;
    putU48(datagram, 2, ring.tag);
    datagram.set(Buffer.from(from.id, "hex"), 8);
    putU64(datagram, 16, (counter += 1));
    datagram.set(frames, 24);
    const nonce = new Uint8Array(12);
    writeNonce(nonce, counter);
    ring.forSending(counter).seal(nonce, datagram, 24, 24 + frames.length);
    return datagram;
  };
}
