import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNodeCipher } from "../../host/link/cipher.ts";
import { putU48, putU64, toHex } from "../../host/transport/bytes.ts";
import { nodeId } from "../../host/transport/create.ts";
import { writeHello } from "../../host/transport/hello.ts";
import {
  helloKey,
  KeyRing,
  sessionKey,
  sessionTag,
  writeNonce,
} from "../../host/transport/keys.ts";
import { KEY, Network, numbered, OTHER_KEY, pair, type Station } from "./network.ts";

const keys = suite("transport keys");
const cipher = createNodeCipher();

/** docs/transport.md prints these: another implementation checks itself by them. */
const direction = {
  clusterKey: Uint8Array.from({ length: 32 }, (_, index) => index),
  sender: nodeId(cipher, "f1"),
  receiver: nodeId(cipher, "b1"),
  senderEpoch: "101112131415161718191a1b1c1d1e1f",
  receiverEpoch: "202122232425262728292a2b2c2d2e2f",
  worker: 0,
};

keys("the key schedule yields the documented vectors", () => {
  assert.is(direction.sender, "3f524cdc07a11d7c");
  assert.is(direction.receiver, "7dc96f776c8423e5");
  assert.is(
    toHex(helloKey(cipher, direction.clusterKey)),
    "0c44be3a8d66c1485f54a46511cd9ed98315e8aad255e62da638e98ba41d5d61",
  );
  assert.is(sessionTag(cipher, direction).toString(16).padStart(12, "0"), "4581225f18d5");
  assert.is(
    toHex(sessionKey(cipher, direction, 0)),
    "0c43630974f5861fc68e545a442e4e48cbc74a350abbb6065da408e57c3f0555",
  );
  assert.is(
    toHex(sessionKey(cipher, direction, 1)),
    "cc2fac6ff9b00cad3222186f55564e22c98c6041abd5fd3cf956ba214377a518",
  );
});

keys("a hello has the documented bytes", () => {
  const bytes = writeHello(cipher, helloKey(cipher, direction.clusterKey), {
    worker: 0,
    windowBytes: 33_554_432,
    sender: Buffer.from(direction.sender, "hex"),
    receiver: Buffer.from(direction.receiver, "hex"),
    senderEpoch: Buffer.from(direction.senderEpoch, "hex"),
    receiverEpoch: undefined,
    challenge: new Uint8Array(16).fill(0x33),
    echo: undefined,
  });
  assert.is(
    toHex(bytes),
    "ba110000020000003f524cdc07a11d7c7dc96f776c8423e5101112131415161718191a1b1c1d1e1f00000000000000000000000000000000333333333333333333333333333333330000000000000000000000000000000071dc347a6553b21ae71ecba5f1e3c05f",
  );
});

keys("a sealed datagram has the documented bytes", () => {
  const ring = new KeyRing(cipher, direction, 2 ** 28);
  // LOW 0, then message 0 of three bytes in one chunk.
  const frames = Buffer.from(
    "01000000000000" + "05000000000000" + "00000003" + "0000" + "616263",
    "hex",
  );
  const datagram = new Uint8Array(24 + frames.length + 16);
  datagram.set([0xba, 0x12]);
  putU48(datagram, 2, ring.tag);
  datagram.set(Buffer.from(direction.sender, "hex"), 8);
  putU64(datagram, 16, 1);
  datagram.set(frames, 24);
  const nonce = new Uint8Array(12);
  writeNonce(nonce, 1);
  ring.forSending(1).seal(nonce, datagram, 24, 24 + frames.length);
  assert.is(
    toHex(datagram),
    "ba124581225f18d53f524cdc07a11d7c00000000000000018de9f5dd541c1c78b304452e450ed763c72a8bfa9a3bf2458cc83c36b0c6329b081e3d5d14db4f",
  );
});

keys("the documentation prints these vectors", () => {
  const text = readFileSync(new URL("../../../docs/transport.md", import.meta.url), "utf8");
  const digits = text.replace(/\s+/g, "");
  const code = readFileSync(new URL(import.meta.url), "utf8");
  const vectors = [...code.matchAll(/"((?:[0-9a-f]{2}){6,})"/g)].map(([, hex]) => hex!);
  assert.ok(vectors.length >= 9);
  for (const hex of vectors) assert.ok(digits.includes(hex), hex);
});

keys("directions, epochs, workers, generations and cluster keys all give other keys", () => {
  const variants = [
    direction,
    { ...direction, sender: direction.receiver, receiver: direction.sender },
    { ...direction, senderEpoch: direction.receiverEpoch, receiverEpoch: direction.senderEpoch },
    { ...direction, worker: 1 },
    { ...direction, clusterKey: KEY },
  ];
  const all = variants.flatMap((variant) => [
    toHex(sessionKey(cipher, variant, 0)),
    toHex(sessionKey(cipher, variant, 1)),
    sessionTag(cipher, variant).toString(16),
  ]);
  assert.is(new Set(all).size, all.length);
});

keys("the key changes after so many datagrams, and nothing is lost by it", () => {
  const { network, a, b } = pair(1, { loss: 0.05, reorder: 0.2 }, { rekeyAfter: 50 });
  for (let i = 0; i < 500; i += 1) {
    a.send(b, numbered(i, 3_000));
    network.run(1_000);
  }
  assert.ok(network.run(10_000_000, () => a.outcomes.delivered === 500));
  assert.is(b.received.length, 500);
  assert.ok(a.transport.counters.datagramsOut! > 1_000, "twenty keys and more");
  assert.is(b.transport.counters.forged, 0);
});

keys("no counter is sealed twice, whatever restarts and is sent again", () => {
  const { network, a, b } = pair(2, { loss: 0.2 });
  for (let i = 0; i < 150; i += 1) {
    a.send(b, numbered(i, 4_000));
    network.run(3_000);
    if (i % 30 === 29) b.restart([a]);
  }
  network.run(5_000_000);
  const counters = network.carried
    .filter(({ from, bytes }) => from.address === "a" && bytes[1] === 0x12)
    .map(({ bytes }) => toHex(bytes, 16, 8));
  assert.ok(counters.length > 400);
  assert.is(new Set(counters).size, counters.length);
});

keys("a cluster key is replaced in three steps without losing or repeating a message", () => {
  const { network, a, b } = pair(3, { loss: 0.05 });
  let number = 0;
  const exchange = (why: string) => {
    for (let i = 0; i < 20; i += 1) {
      a.send(b, numbered((number += 1), 2_500));
      b.send(a, numbered(number, 100));
    }
    const isDone = () => a.outcomes.delivered === number && b.outcomes.delivered === number;
    assert.ok(network.run(3_000_000, isDone), why);
    assert.is(a.received.length + b.received.length, 2 * number, why);
  };
  exchange("one key");
  const both: Station[] = [a, b];
  for (const [why, next] of [
    ["the new key is accepted", [KEY, OTHER_KEY]],
    ["the new key seals", [OTHER_KEY, KEY]],
    ["the old key is gone", [OTHER_KEY]],
  ] as const) {
    for (const station of both) {
      station.transport.setKeys(next);
      exchange(`${why}, at ${station.name}`);
    }
  }
  assert.is(a.transport.counters.epochs, 1, "the session went on");
  assert.is(a.transport.counters.forged, 0);
});

keys("traffic of before a rotation cannot be replayed after it", () => {
  const { network, a, b } = pair(4);
  a.transport.hello(b.id);
  network.run(1_000_000);
  for (let i = 0; i < 10; i += 1) a.transport.sendUnreliable(b.id, numbered(i, 100));
  network.run(1_000_000);
  for (const station of [a, b]) station.transport.setKeys([OTHER_KEY, KEY]);
  for (const { from, to, bytes } of network.carried.slice()) {
    if (to.address === "b") b.transport.handleDatagram(from, bytes);
  }
  network.run(1_000_000);
  assert.is(b.received.length, 10);
});

keys("a node that restarts in the middle of a rotation is heard", () => {
  const network = new Network(5);
  const a = network.station("a", { keys: [OTHER_KEY, KEY] });
  const b = network.station("b", { keys: [KEY, OTHER_KEY] });
  a.knows(b);
  b.knows(a);
  a.send(b, numbered(1, 100));
  b.send(a, numbered(2, 100));
  network.run(1_000_000);
  b.restart([a]);
  b.send(a, numbered(3, 100));
  network.run(1_000_000);
  assert.is(a.received.length, 2);
  assert.is(b.received.length, 1);
});

keys("forged counters never hold more than three keys of a direction", () => {
  let live = 0;
  const counting = {
    ...cipher,
    aead: (key: Uint8Array) => {
      live += 1;
      return { ...cipher.aead(key), close: () => (live -= 1) };
    },
  };
  const ring = new KeyRing(counting, direction, 100);
  for (let i = 0; i < 50; i += 1) ring.forOpening(i * 1_000);
  assert.ok(live <= 1, `${live} before any proved`);
  ring.forOpening(500);
  ring.opened(500);
  for (let i = 0; i < 50; i += 1) ring.forOpening(i * 100);
  assert.ok(live <= 3, `${live} after`);
  assert.is(ring.forOpening(700), undefined, "two generations ahead");
  assert.is(ring.forOpening(350), undefined, "two behind");
  ring.close();
  assert.is(live, 0);
});

keys("anything but one or two keys of 32 bytes is refused", () => {
  const { a } = pair(6);
  for (const bad of [[], [KEY, KEY, KEY], [new Uint8Array(31)]]) {
    assert.throws(() => a.transport.setKeys(bad), /cluster keys: expected one or two of 32 bytes/);
  }
});

keys.run();
