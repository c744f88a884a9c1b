/** Segments of a frozen connection that no flow names: held in order, within bounds, then passed or replayed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Tuple } from "../../host/core/tuple.ts";
import { WaitingLines } from "../../host/node/waiting.ts";

const waiting = suite("waiting lines");

const tuple = (port: number): Tuple => ({
  family: 4,
  remote: Uint8Array.of(10, 1, 0, 2),
  remotePort: port,
  local: Uint8Array.of(10, 0, 0, 100),
  localPort: 80,
});
const item = (value: number, length = 10) => ({ packet: new Uint8Array(length).fill(value) });

waiting("holds nothing for a connection that runs", () => {
  const lines = new WaitingLines();
  assert.is(lines.hold(tuple(1), item(1)), false);
  assert.ok(lines.isEmpty);
  assert.equal(lines.pass(tuple(1)), []);
});

waiting("gives what it held back in order when MOVE was acknowledged, and holds no more", () => {
  const lines = new WaitingLines();
  lines.freeze(tuple(1));
  const held = [item(1), item(2), item(3)];
  for (const each of held) assert.ok(lines.hold(tuple(1), each));
  assert.is(lines.hold(tuple(2), item(9)), false, "another connection");
  assert.is(lines.isPassing(tuple(1)), false);
  assert.equal(lines.pass(tuple(1)), held);
  assert.is(lines.isPassing(tuple(1)), true);
  assert.is(lines.hold(tuple(1), item(4)), false);
  assert.equal(lines.leave(tuple(1)), []);
  assert.ok(lines.isEmpty);
});

waiting("replays what it held to a connection that runs again", () => {
  const lines = new WaitingLines();
  lines.freeze(tuple(1));
  lines.hold(tuple(1), item(1));
  assert.equal(lines.thaw(tuple(1)), [item(1)]);
  assert.ok(lines.isEmpty);
  assert.equal([lines.counters.held, lines.counters.replayed], [1, 1]);
});

waiting("has a limit for one connection and one for all, and counts what they refuse", () => {
  const lines = new WaitingLines();
  for (const port of [1, 2]) lines.freeze(tuple(port));
  for (let count = 0; count < 300; count++) assert.ok(lines.hold(tuple(1), item(1)));
  assert.is(lines.counters.refused, 300 - 256);
  for (let count = 0; count < 200; count++) lines.hold(tuple(2), item(2, 65_536));
  assert.ok(lines.counters.refused > 44, "8 MiB in all");
  const bytes = [...lines.leave(tuple(1)), ...lines.leave(tuple(2))];
  assert.ok(bytes.reduce((sum, { packet }) => sum + packet.length, 0) <= 8 << 20);
  lines.freeze(tuple(3));
  assert.ok(lines.hold(tuple(3), item(3, 4 << 20)));
  assert.is(lines.leave(tuple(3)).length, 1, "room is given back");
});

waiting.run();
