/** Next hops: the list against a slow implementation of it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { type TestCore, onBothBuilds } from "../support/core.ts";
import { buildTcp, toAddress } from "../support/packet.ts";
import { RingKernel } from "../support/ringkernel.ts";

const hops = suite("ring/hops");

interface Prefix {
  readonly address: string;
  readonly length: number;
  readonly mac: Uint8Array | undefined;
}

/** The MAC address that a packet to `destination` is sent to; undefined: it goes by the kernel. */
function ask(kernel: RingKernel, core: TestCore, destination: string): string | undefined {
  const source = destination.includes(":") ? "2001:db8::1" : "192.0.2.1";
  const packet = buildTcp({ source, destination, sourcePort: 1, destinationPort: 2 });
  const at = core.f.txBatchPtr!();
  core.write(core.view.getUint32(at, true), packet);
  core.view.setUint32(at + 4, packet.length, true);
  core.view.setUint16(at + core.constant("DescriptorOff.FLAGS"), 0, true);
  const result = core.f.ringTransmit!(1, 0);
  core.f.ringFlush!();
  const frames = kernel.send();
  assert.is(frames.length, result);
  return frames[0]?.slice(0, 6).join();
}

function fits(prefix: Prefix, destination: string): boolean {
  const [mine, theirs] = [toAddress(prefix.address), toAddress(destination)];
  if (mine.length !== theirs.length) return false;
  for (let bit = 0; bit < prefix.length; bit++) {
    const mask = 128 >> (bit & 7);
    if ((mine[bit >> 3]! & mask) !== (theirs[bit >> 3]! & mask)) return false;
  }
  return true;
}

const mac = fc.option(fc.uint8Array({ minLength: 6, maxLength: 6 }), { nil: undefined });
/** Few different bits, so that prefixes meet destinations. */
const v4 = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }));
const text4 = v4.map(([a, b]) => `10.${a}.0.${b}`);
const text6 = v4.map(([a, b]) => `fd00:${a}::${b}:0:0:${b + 1}`);
const prefix4 = fc.record({ address: text4, length: fc.integer({ min: 0, max: 32 }), mac });
const prefix6 = fc.record({ address: text6, length: fc.integer({ min: 0, max: 128 }), mac });

onBothBuilds(hops, (test) => {
  test("the first prefix that fits decides, as in a slow list", (core) => {
    const kernel = new RingKernel(core);
    const lists = fc.array(fc.oneof(prefix4, prefix6), { maxLength: 12 });
    const asks = fc.array(fc.oneof(text4, text6), { maxLength: 12 });
    fc.assert(
      fc.property(lists, asks, (list, destinations) => {
        core.f.hopClear!();
        list.forEach(({ address, length, mac }, index) => {
          assert.is(kernel.addHop(address, length, mac), index);
        });
        const used = new Set<number>();
        for (const destination of destinations) {
          const want = list.findIndex((prefix) => fits(prefix, destination));
          if (want >= 0) used.add(want);
          assert.is(ask(kernel, core, destination), list[want]?.mac?.join());
        }
        list.forEach((_, index) => {
          assert.is(core.f.hopUsed!(index), used.has(index) ? 1 : 0);
          assert.is(core.f.hopUsed!(index), 0, "asked once");
        });
      }),
      { numRuns: 100 },
    );
  });

  test("are bounded, and checked before they are taken", (core) => {
    const kernel = new RingKernel(core);
    const { f } = core;
    const bad = core.constant("Err.ARGUMENT");
    assert.is(f.hopAdd!(5, f.tuplePtr!(), 0, 0), bad);
    assert.is(f.hopAdd!(4, f.tuplePtr!(), 33, 0), bad);
    assert.is(f.hopAdd!(6, f.tuplePtr!(), 129, 0), bad);
    assert.is(f.hopAdd!(4, 0, 0, 0), bad);
    assert.is(f.hopAdd!(4, f.tuplePtr!(), 0, 0xfffffff8), bad);
    assert.is(f.hopOwn!(0), bad);
    const max = core.constant("HOPS_MAX");
    for (let index = 0; index < max; index++) {
      assert.is(kernel.addHop(`10.1.${index >> 8}.${index & 255}`, 32), index);
    }
    assert.is(kernel.addHop("10.9.9.9", 32), core.constant("Err.FULL"));
    assert.is(f.hopUsed!(max), 0);
    assert.is(f.hopUsed!(-1), 0);
  });
});

hops.run();
