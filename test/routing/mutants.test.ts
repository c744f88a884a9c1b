/**
 * The first bytes of real clients, damaged in every way, at the reader of the classifier: it answers with a head, a
 * refusal or a wish for more and with nothing else; it decides once and for good, at the same byte however they are
 * cut; it looks at each byte a bounded number of times and wants no more than its limit; and what it takes for a
 * ClientHello is read by OpenSSL in the same way, or not at all.
 */
import { Duplex } from "node:stream";
import { createSecureContext, TLSSocket } from "node:tls";
import { generate } from "selfsigned";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HTTP_HEAD_MAX } from "../../host/routing/http.ts";
import type { ReadResult } from "../../host/routing/route.ts";
import { TLS_HEAD_MAX } from "../../host/routing/tls.ts";
import { fixtureHeads, fixtureHellos, mutator, named, SEED } from "../support/mutate.ts";
import type { LengthField, Mutator } from "../support/mutate.ts";
import { counted, decidedAfter, newReader, readInPieces, readWhole, records } from "./support.ts";

const mutants = suite("mutated first bytes");

const HELLOS = fixtureHellos();
const HEADS = fixtureHeads();
const COUNT = 2_000;
const COUNTED = 60;
const JUDGED = 1_200;
/** An alert, or a short response. */
const REPLY_MAX = 512;

const number = (bytes: Uint8Array, at: number, width: number): number =>
  bytes.subarray(at, at + width).reduce((sum, byte) => sum * 256 + byte, 0);

/** Every length of a ClientHello in one record: walked here once more, by RFC 8446 4.1.2 alone. */
function helloLengths(bytes: Uint8Array): LengthField[] {
  const found: LengthField[] = [
    [3, 2],
    [6, 3],
  ];
  let at = 5 + 4 + 2 + 32;
  const skip = (width: number): void => {
    found.push([at, width]);
    at += width + number(bytes, at, width);
  };
  for (const width of [1, 2, 1]) skip(width);
  found.push([at, 2]);
  at += 2;
  while (at < bytes.length) {
    const [type, data] = [number(bytes, at, 2), at + 4];
    // The list of names with its first name, the list of protocols with its first one, and the key shares.
    if (type === 0) found.push([data, 2], [data + 3, 2]);
    if (type === 16) found.push([data, 2], [data + 2, 1]);
    if (type === 51) found.push([data, 2], [data + 4, 2]);
    at += 2;
    skip(2);
  }
  assert.is(at, bytes.length);
  return found;
}

/** A damaged hello, as it is or its message once more in records of any size. */
function nextHello(from: Mutator): Uint8Array {
  const bytes = from.next();
  if (!from.random.chance(25) || bytes.length < 6) return bytes;
  return records([...bytes.subarray(5)], 1 + from.random.below(300));
}

const helloMutator = (): Mutator =>
  mutator(
    HELLOS.map(({ bytes }) => bytes),
    helloLengths,
  );
const headMutator = (): Mutator => mutator(HEADS.map(([, bytes]) => bytes));

/** What must hold of any bytes; returns what became of them. */
function judge(bytes: Uint8Array, { random, cuts }: Mutator): ReadResult["kind"] {
  const whole = readWhole(bytes);
  if (whole.kind === "reject") assert.ok(whole.reply.length <= REPLY_MAX, named(bytes));
  const decided = decidedAfter(bytes);
  assert.is(decided !== Infinity, whole.kind !== "more", named(bytes));

  // Readers that see one prefix alone agree with the one that saw them all: no word but "more" until then ...
  const early = Math.min(decided - 1, bytes.length);
  for (const length of [0, random.below(early + 1), early]) {
    assert.is(readWhole(bytes.subarray(0, length)).kind, "more", named(bytes));
  }
  // ... and the same one from there on, whatever comes behind.
  if (whole.kind !== "more") {
    const later = decided + random.below(bytes.length - decided + 1);
    assert.equal(readWhole(bytes.subarray(0, decided)), whole, named(bytes));
    assert.equal(readWhole(bytes.subarray(0, later)), whole, named(bytes));
    assert.equal(readWhole(Uint8Array.from([...bytes, ...random.bytes(64)])), whole, named(bytes));
  }
  assert.equal(readInPieces(bytes, cuts(bytes.length + 1)), whole, named(bytes));
  return whole.kind;
}

function tally(kinds: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

mutants("the corpus is what it says", () => {
  for (const { client, serverName, alpn, bytes } of HELLOS) {
    const head = { protocol: "tls", serverName, alpn };
    assert.equal(readWhole(bytes), { kind: "head", head }, client);
    assert.is(decidedAfter(bytes), bytes.length, client);
    assert.ok(helloLengths(bytes).length > 15, client);
  }
  for (const [client, bytes] of HEADS) assert.is(readWhole(bytes).kind, "head", client);
  assert.ok(
    HELLOS.filter(({ bytes }) => bytes.length > 1_460).length >= 2,
    "longer than a segment",
  );
});

for (const { client, bytes } of HELLOS) {
  mutants(`the hello of ${client} is the same in two segments, wherever it is cut`, () => {
    const whole = readWhole(bytes);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.equal(readInPieces(bytes, [cut]), whole, `cut at ${cut}`);
    }
  });
}

mutants(`hellos are decided once, at one byte, however they are cut (seed ${SEED})`, () => {
  const from = helloMutator();
  const kinds = tally(Array.from({ length: COUNT }, () => judge(nextHello(from), from)));
  // None of the three is rare: the damage reaches all of the reader.
  for (const kind of ["head", "reject", "more"]) {
    assert.ok((kinds[kind] ?? 0) > COUNT / 20, `${kind}: ${JSON.stringify(kinds)}`);
  }
});

mutants(`HTTP heads are decided once, at one byte, however they are cut (seed ${SEED})`, () => {
  const from = headMutator();
  const kinds = tally(Array.from({ length: COUNT }, () => judge(from.next(), from)));
  for (const kind of ["head", "reject", "more"]) {
    assert.ok((kinds[kind] ?? 0) > COUNT / 20, `${kind}: ${JSON.stringify(kinds)}`);
  }
});

mutants(`each byte is looked at a bounded number of times (seed ${SEED})`, () => {
  for (const from of [helloMutator(), headMutator()]) {
    for (let turn = 0; turn < COUNTED; turn++) {
      const bytes = from.next();
      const reads = { reads: 0 };
      const reader = newReader();
      for (let length = 1; length <= bytes.length; length++) {
        reader.read(counted(bytes.subarray(0, length), reads));
      }
      assert.ok(reads.reads <= 3 * bytes.length + 8, `${reads.reads} reads, ${named(bytes)}`);
    }
  }
});

mutants(`whoever wants more gets no more than the limit (seed ${SEED})`, () => {
  for (const [from, limit] of [
    [helloMutator(), TLS_HEAD_MAX],
    [headMutator(), HTTP_HEAD_MAX],
  ] as const) {
    let wanting = 0;
    while (wanting < 40) {
      const bytes = from.next();
      // Of one byte or none the protocol is not known yet.
      if (bytes.length < 2 || readWhole(bytes).kind !== "more") continue;
      wanting++;
      const filled = new Uint8Array(limit).fill(0x61);
      filled.set(bytes);
      assert.is.not(readWhole(filled).kind, "more", named(bytes));
    }
  }
});

/** What OpenSSL told of a first flight; a part is undefined where it was not asked, or refused before. */
interface Reading {
  serverName: string | undefined;
  alpn: readonly string[] | undefined;
}

const CONTENT_HANDSHAKE = 22;
const { private: key, cert } = await generate(undefined, { algorithm: "sha256" });
const secureContext = createSecureContext({ key, cert });

/** All of the flight is there, and an end behind it: OpenSSL answers, refuses, or ends. */
function opensslReads(bytes: Uint8Array): Promise<Reading> {
  return new Promise((resolve) => {
    const reading: Reading = { serverName: undefined, alpn: undefined };
    const duplex = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        // It goes on without having asked: there is nothing of the kind in its reading.
        if (chunk[0] === CONTENT_HANDSHAKE) {
          reading.serverName ??= "";
          reading.alpn ??= [];
        }
        done();
        finish();
      },
    });
    const socket = new TLSSocket(duplex, {
      isServer: true,
      secureContext,
      ALPNCallback: ({ servername, protocols }) => {
        reading.serverName = servername || "";
        reading.alpn = protocols;
        return undefined;
      },
      SNICallback: (name, done) => {
        reading.serverName = name;
        done(null);
      },
    });
    const finish = (): void => {
      resolve(reading);
      socket.destroy();
    };
    for (const event of ["error", "end", "close"]) socket.on(event, finish);
    socket.resume();
    duplex.push(bytes);
    duplex.push(null);
  });
}

mutants(
  `OpenSSL reads no other name and no other protocols in a hello (seed ${SEED})`,
  async () => {
    const from = helloMutator();
    let [names, protocols] = [0, 0];
    for (let turn = 0; turn < JUDGED; turn++) {
      const bytes = nextHello(from);
      const ours = readWhole(bytes);
      if (ours.kind !== "head" || ours.head.protocol !== "tls") continue;
      const { serverName, alpn } = await opensslReads(bytes);
      if (serverName !== undefined) {
        names++;
        assert.is(ours.head.serverName, serverName.toLowerCase().replace(/\.$/, ""), named(bytes));
      }
      if (alpn !== undefined) {
        protocols++;
        assert.equal(ours.head.alpn, alpn, named(bytes));
      }
    }
    assert.ok(Math.min(names, protocols) > JUDGED / 20, `asked of ${names}, ${protocols}`);
  },
);

mutants.run();
