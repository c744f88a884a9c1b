import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Paths } from "../../host/node/paths.ts";

const paths = suite("paths");

paths("the narrowest link counts, and is told when it changes", () => {
  const told: number[] = [];
  const it = new Paths(1500, (mtu) => told.push(mtu));
  assert.is(it.mtu, 1500);
  for (const [node, mtu] of [
    ["b1", 9000],
    ["b2", 1500],
    ["b1", 1450],
    ["b2", 1400],
    ["b2", 1400],
    ["b1", 1500],
    ["b2", 1480],
    ["b2", 9000],
  ] as const) {
    it.heard(node, mtu);
  }
  assert.equal(told, [1450, 1400, 1480, 1500]);
  assert.is(it.mtu, 1500);
});

paths("a node that claims less than any link has is not believed", () => {
  const it = new Paths(1500, () => assert.unreachable());
  it.heard("b1", 0);
  it.heard("b1", 575);
  assert.is(it.mtu, 1500);
});

paths.run();
