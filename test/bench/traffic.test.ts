/** Packets that bench:core measures with: they are those of a slow, independent builder. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  OWN,
  PEER,
  SERVICE,
  SERVICE_PORT,
  Traffic,
  client,
  clientAddress,
  flowOf,
} from "../../bench/core/traffic.ts";
import { buildTcp, option, parseTcp } from "../support/packet.ts";

const traffic = suite("traffic of bench:core");
const FLOWS = 1_000_000;
const COUNT = 2000;

function drawn(source: Traffic, seed: number, count: number): Uint8Array[] {
  const bytes = new Uint8Array(source.template.length);
  const view = new DataView(bytes.buffer);
  source.begin(seed);
  return Array.from({ length: count }, () => {
    source.next(bytes, view, 0);
    return bytes.slice();
  });
}

for (const family of [4, 6] as const) {
  for (const decapsulate of [false, true]) {
    const way = decapsulate ? "from a peer" : "from clients";
    traffic(`IPv${family} ${way} is what the builder makes of the same flow`, () => {
      const source = new Traffic({ family, decapsulate, flows: FLOWS });
      for (const packet of drawn(source, 7, COUNT)) {
        const { seq, ack: index } = parseTcp(packet);
        assert.ok(index < FLOWS);
        const flow = flowOf(index);
        const wanted = buildTcp({
          source: decapsulate ? PEER[family] : clientAddress(index, family),
          destination: decapsulate ? OWN[family] : SERVICE[family],
          sourcePort: decapsulate ? flow >>> 16 : client(index).port,
          destinationPort: decapsulate ? flow & 0xffff : SERVICE_PORT,
          ...{ seq, ack: index, flags: 16 },
          options: option.timestamps((seq ^ index) >>> 0, ~seq >>> 0),
        });
        assert.equal(packet, wanted);
      }
    });
  }
}

traffic("flows are drawn evenly, and hardly one twice", () => {
  const source = new Traffic({ family: 4, decapsulate: false, flows: FLOWS });
  const indices = drawn(source, 1, 1 << 16).map((packet) => parseTcp(packet).ack);
  const tenths = Array.from({ length: 10 }, (_, tenth) => {
    return indices.filter((index) => Math.floor((index * 10) / FLOWS) === tenth).length;
  });
  for (const count of tenths) assert.ok(Math.abs(count - 6553.6) < 400, tenths.join());
  // Of 65,536 draws from a million 63,456 are different ones in the mean.
  assert.ok(Math.abs(new Set(indices).size - 63_456) < 300);
});

traffic("another seed draws other packets, the same one the same", () => {
  const source = new Traffic({ family: 4, decapsulate: false, flows: FLOWS });
  const [first, again, other] = [1, 1, 2].map((seed) => drawn(source, seed, 100));
  assert.equal(first, again);
  assert.not.equal(first, other);
});

traffic.run();
