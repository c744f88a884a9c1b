import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  MESSAGE_FORMAT,
  decodeBlobHead,
  decodeMessage,
  encodeMessage,
} from "../../host/node/codec.ts";
import { MESSAGE_TYPES, RECORD_STATES, isFlowId } from "../../host/node/messages.ts";
import type { BlobMessage, Message, SyncItem } from "../../host/node/messages.ts";
import { anyMessage, messages } from "./arbitrary.ts";

const codec = suite("message codec");

for (const type of MESSAGE_TYPES) {
  codec(`gives a ${type} message back field by field`, () => {
    fc.assert(
      fc.property(messages[type], (message: Message) => {
        assert.equal(decodeMessage(encodeMessage(message)), message);
      }),
      { numRuns: 50 },
    );
  });
}

codec("numbers the types by their place in the list, from 1", () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const bytes = encodeMessage(message);
      assert.is(bytes[0], MESSAGE_TYPES.indexOf(message.type) + 1);
      assert.is(bytes[1], MESSAGE_FORMAT);
    }),
  );
  assert.is(MESSAGE_TYPES.length, Object.keys(messages).length);
});

codec("refuses every message that lost bytes at its end, or gained some", () => {
  fc.assert(
    fc.property(anyMessage, fc.nat(), (message, cut) => {
      const bytes = encodeMessage(message);
      const short = bytes.subarray(0, cut % bytes.length);
      assert.is(decodeMessage(short).type, "malformed");
      assert.is(decodeMessage(Uint8Array.of(...bytes, 0)).type, "malformed");
    }),
  );
});

codec("never throws on random bytes, and encodes what it accepted to the same bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => sameBytesOrMalformed(bytes)),
    { numRuns: 2000 },
  );
});

codec(
  "never throws on a message with some bytes changed, nor reads it as another value's bytes",
  () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        anyMessage,
        fc.array(change, { minLength: 1, maxLength: 4 }),
        (message, changes) => {
          const bytes = encodeMessage(message);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          sameBytesOrMalformed(bytes);
        },
      ),
      { numRuns: 3000 },
    );
  },
);

codec("takes no flow identifier with a zero half where a flow must be named", () => {
  for (const flow of [0, 0x10000, 0x0000ffff, 0xffff0000]) {
    assert.not.ok(isFlowId(flow));
    const bytes = encodeMessage({ type: "cancel", flow: 0x12345678 });
    new DataView(bytes.buffer).setUint32(4, flow, true);
    assert.equal(decodeMessage(bytes), { type: "malformed", reason: "body" });
  }
  assert.ok(isFlowId(0xffffffff));
  assert.ok(isFlowId(0x00010001));
});

/** Of the head of a BLOB, without the bytes that follow it. */
const HEAD_SIZE = 156;

codec("takes no 4-tuple with a port 0, which no connection has", () => {
  const found: Record<string, unknown>[] = [];
  fc.assert(
    fc.property(messages.query, fc.constantFrom("remotePort", "localPort"), (message, port) => {
      const [first, ...rest] = message.type === "query" ? message.items : [];
      if (!first) return;
      found.push({ ...first });
      const items = [{ ...first, tuple: { ...first.tuple, [port]: 0 } }, ...rest];
      const bytes = encodeMessage({ type: "query", items });
      assert.equal(decodeMessage(bytes), { type: "malformed", reason: "body" });
    }),
  );
  assert.ok(found.length > 10);
});

codec("reads the head of a BLOB from its first bytes as from the whole", () => {
  fc.assert(
    fc.property(messages.blob, fc.nat(), (message, more) => {
      const bytes = encodeMessage(message);
      const first = bytes.subarray(0, HEAD_SIZE + (more % (bytes.length - HEAD_SIZE + 1)));
      const { blob } = message as BlobMessage;
      assert.equal({ ...decodeBlobHead(first, bytes.length), blob }, message);
    }),
  );
});

codec(
  "finds no head of a BLOB in other messages, in too few bytes, or where the length does not fit",
  () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(), (message, cut) => {
        const bytes = encodeMessage(message);
        const short = bytes.subarray(0, cut % Math.min(bytes.length, HEAD_SIZE));
        assert.is(decodeBlobHead(short, bytes.length), undefined);
        assert.is(decodeBlobHead(bytes, bytes.length + 1), undefined);
        const head = decodeBlobHead(bytes, bytes.length);
        assert.is(head?.type, message.type === "blob" ? "blob" : undefined);
      }),
    );
  },
);

codec("finds a head of a BLOB in changed bytes only where the whole is a message too", () => {
  const change = fc.tuple(fc.nat(HEAD_SIZE - 1), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(messages.blob, fc.array(change, { minLength: 1, maxLength: 4 }), (message, all) => {
      const bytes = encodeMessage(message);
      for (const [at, value] of all) bytes[at] = value;
      const whole = decodeMessage(bytes);
      const head = decodeBlobHead(bytes.subarray(0, HEAD_SIZE), bytes.length);
      assert.is(head !== undefined, whole.type === "blob");
    }),
    { numRuns: 1000 },
  );
});

codec("refuses a count of items that the message cannot hold without allocating for it", () => {
  const bytes = encodeMessage({ type: "release", items: [] });
  new DataView(bytes.buffer).setUint32(8, 0xffffffff, true);
  assert.equal(decodeMessage(bytes), { type: "malformed", reason: "body" });
});

codec("tells a format from later from a type from later", () => {
  const bytes = encodeMessage({ type: "cancel", flow: 0x00010001 });
  const later = Uint8Array.from(bytes);
  later[1] = MESSAGE_FORMAT + 1;
  assert.equal(decodeMessage(later), { type: "malformed", reason: "format" });
  const unknown = Uint8Array.from(bytes);
  unknown[0] = MESSAGE_TYPES.length + 1;
  assert.equal(decodeMessage(unknown), { type: "malformed", reason: "type" });
  assert.equal(decodeMessage(new Uint8Array(7)), { type: "malformed", reason: "short" });
});

codec("keeps messages independent of the buffer they came in", () => {
  const bytes = encodeMessage({
    type: "relay",
    asked: 3,
    order: 2 ** 32 + 7,
    isOvertaken: true,
    hint: undefined,
    packet: Uint8Array.of(1, 2, 3),
  });
  const message = decodeMessage(bytes);
  bytes.fill(9);
  assert.equal(message, {
    type: "relay",
    asked: 3,
    order: 2 ** 32 + 7,
    isOvertaken: true,
    hint: undefined,
    packet: Uint8Array.of(1, 2, 3),
  });
});

codec("reports each record state of SYNC under its own number", () => {
  for (const record of RECORD_STATES) {
    const item: SyncItem = {
      flow: 0x00010001,
      record,
      generation: 3,
      connection: undefined,
      next: undefined,
    };
    const message: Message = {
      type: "sync",
      forwarderEpoch: "0".repeat(32),
      bootEpoch: "1".repeat(32),
      part: 0,
      parts: 1,
      slice: 4,
      items: [item],
    };
    const bytes = encodeMessage(message);
    assert.is(bytes[8 + 16 + 16 + 16 + 8], RECORD_STATES.indexOf(record));
    assert.equal(decodeMessage(bytes), message);
  }
});

codec.run();

function sameBytesOrMalformed(bytes: Uint8Array): void {
  const message = decodeMessage(bytes);
  if (message.type === "malformed") return;
  assert.equal(encodeMessage(message), bytes);
}
