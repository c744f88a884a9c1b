import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readVnetHeader, VNET_BYTES, writeVnetHeader } from "../../host/link/vnet.ts";
import { SlotBatch } from "../support/slots.ts";

const vnet = suite("vnet");
const batch = new SlotBatch(2, 4096);

interface Header {
  flags: number;
  type: number;
  hdrLen: number;
  gsoSize: number;
  start: number;
  offset: number;
}

const PLAIN: Header = { flags: 0, type: 0, hdrLen: 0, gsoSize: 0, start: 0, offset: 0 };
/** A 1500-byte TCP/IPv4 packet with 12 bytes of options, to be split. */
const SEGMENTS: Header = { flags: 1, type: 1, hdrLen: 66, gsoSize: 1448, start: 20, offset: 16 };

function read(header: Header, len: number, dataOffset = 0x80): boolean {
  const bytes = new DataView(batch.memory.buffer, batch.ptr(1) - VNET_BYTES, VNET_BYTES);
  bytes.setUint8(0, header.flags);
  bytes.setUint8(1, header.type);
  bytes.setUint16(2, header.hdrLen, true);
  bytes.setUint16(4, header.gsoSize, true);
  bytes.setUint16(6, header.start, true);
  bytes.setUint16(8, header.offset, true);
  batch.memory.fill(0, batch.ptr(1), batch.ptr(1) + batch.slotBytes);
  batch.memory[batch.ptr(1) + header.start + 12] = dataOffset;
  return readVnetHeader(batch, 1, len);
}

function fields(): number[] {
  return [
    batch.len(1),
    batch.flags(1),
    batch.csumStart(1),
    batch.csumOffset(1),
    batch.gsoType(1),
    batch.gsoSize(1),
    batch.headerLen(1),
  ];
}

vnet("reads a plain packet, and one whose checksum the kernel has verified", () => {
  assert.ok(read(PLAIN, 40));
  assert.equal(fields(), [40, 0, 0, 0, 0, 0, 0]);
  assert.ok(read({ ...PLAIN, flags: 2, start: 99, offset: 99, gsoSize: 7, hdrLen: 9 }, 40));
  assert.equal(fields(), [40, 2, 0, 0, 0, 0, 0], "fields without meaning do not get through");
});

vnet("reads an unfinished checksum only inside the packet", () => {
  const partial = { ...PLAIN, flags: 1, start: 20, offset: 16 };
  assert.ok(read(partial, 38));
  assert.equal(fields(), [38, 1, 20, 16, 0, 0, 0]);
  assert.not.ok(read(partial, 37), "the sum would end one byte behind the packet");
  assert.not.ok(read({ ...partial, start: 65535, offset: 65535 }, 1500));
  assert.not.ok(read({ ...partial, start: 19 }, 1500), "inside the IP header");
  assert.not.ok(read(PLAIN, 19), "shorter than any IP header");
});

vnet("reads a packet to be split, its header length from the packet itself", () => {
  for (const type of [1, 4, 0x81, 0x84]) {
    assert.ok(read({ ...SEGMENTS, type, hdrLen: 65535 }, 1500));
    assert.equal(fields(), [1500, 1, 20, 16, type, 1448, 52]);
  }
});

vnet("refuses a packet that cannot be split as its header says", () => {
  assert.not.ok(read({ ...SEGMENTS, gsoSize: 0 }, 1500), "segments of no bytes");
  assert.not.ok(read({ ...SEGMENTS, flags: 0 }, 1500), "no checksum to finish");
  for (const type of [2, 3, 5, 6, 0x80, 0xff]) {
    assert.not.ok(read({ ...SEGMENTS, type }, 1500), `type ${type} was not negotiated`);
  }
  assert.not.ok(read(SEGMENTS, 51), "its TCP header ends behind the packet");
  assert.not.ok(read(SEGMENTS, 1500, 0x40), "a TCP header of 16 bytes");
});

vnet("accepts no header whose fields point outside the packet, whatever it holds", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: VNET_BYTES, maxLength: VNET_BYTES }),
      fc.integer({ min: 0, max: 300 }),
      fc.integer({ min: 0, max: 255 }),
      (bytes, len, fill) => {
        const ptr = batch.ptr(1);
        batch.memory.fill(fill, ptr, ptr + len);
        batch.memory.set(bytes, ptr - VNET_BYTES);
        const before = batch.memory.slice();
        if (readVnetHeader(batch, 1, len)) {
          const [length, flags, start, offset, type, size, header] = fields() as [
            ...[number, number, number, number, number, number, number],
          ];
          assert.is(length, len);
          assert.ok(len >= 20);
          assert.is(flags & ~3, 0);
          assert.ok((flags & 1) === 0 ? start + offset === 0 : start + offset + 2 <= len);
          assert.ok(type === 0 ? size + header === 0 : size > 0 && header <= len && header >= 40);
          writeVnetHeader(batch, 1);
          assert.ok(readVnetHeader(batch, 1, len), "what is written can be read");
          const again = fields();
          assert.equal(again, [length, flags & 1, start, offset, type, size, header]);
          batch.memory.set(bytes, ptr - VNET_BYTES);
        }
        assert.equal(batch.memory, before, "the packet was left alone");
      },
    ),
    { numRuns: 2000 },
  );
});

vnet("writes exactly what the kernel expects", () => {
  batch.setLen(1, 1500);
  batch.setOffload(1, 3, 20, 16, 0x81, 1448, 52);
  writeVnetHeader(batch, 1);
  const at = batch.ptr(1) - VNET_BYTES;
  const written = () => [...batch.memory.subarray(at, at + VNET_BYTES)];
  assert.equal(written(), [1, 0x81, 52, 0, 0xa8, 5, 20, 0, 16, 0]);
  batch.setOffload(1, 2, 20, 16, 0, 1448, 52);
  writeVnetHeader(batch, 1);
  assert.equal(written(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

vnet.run();
