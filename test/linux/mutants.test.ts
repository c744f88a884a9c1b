/**
 * The kernel's messages about routes and neighbours, damaged: whatever stands in them, what is read is bounded by the
 * datagram, fits its family, and can be made next hops of.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseMessages, parseNeighbour, parseRoute } from "../../host/linux/netlink.ts";
import { nextHops } from "../../host/linux/nexthop.ts";
import { mutator, named, SEED } from "../support/mutate.ts";
import type { LengthField } from "../support/mutate.ts";

const mutants = suite("mutated netlink messages");

const COUNT = 3_000;
const HEADER_BYTES = 16;
const FIXED_BYTES = 12;

/** struct nlmsghdr, a fixed part, attributes of [type, value]. */
function message(
  type: number,
  fixed: readonly number[],
  ...attributes: [number, number[]][]
): number[] {
  const body = [...fixed];
  for (const [name, value] of attributes) {
    body.push(4 + value.length, 0, name, 0, ...value);
    while (body.length % 4 !== 0) body.push(0);
  }
  return [HEADER_BYTES + body.length, 0, 0, 0, type, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, ...body];
}

const MAIN = [0, 0, 254, 2, 0, 1, 0, 0, 0, 0];
const FAR = [0xfd, ...new Array<number>(14).fill(0), 1];
const SAMPLES = [
  message(24, [2, 24, ...MAIN], [1, [10, 1, 3, 0]], [4, [7, 0, 0, 0]]),
  message(24, [2, 0, ...MAIN], [5, [10, 1, 3, 1]], [4, [7, 0, 0, 0]], [6, [100, 0, 0, 0]]),
  message(24, [10, 64, ...MAIN], [1, FAR], [4, [7, 0, 0, 0]], [15, [254, 0, 0, 0]]),
  message(28, [2, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 1], [1, [10, 1, 3, 1]], [2, [2, 0, 0, 0, 0, 1]]),
  message(28, [10, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 1], [1, FAR], [2, [2, 0, 0, 0, 0, 2]]),
].map((bytes) => Uint8Array.from(bytes));

/** The first bytes of the lengths, which the kernel writes in its own order: a lie of one byte says all. */
function lengths(bytes: Uint8Array): LengthField[] {
  const found: LengthField[] = [[0, 1]];
  for (let at = HEADER_BYTES + FIXED_BYTES; at < bytes.length; at += ((bytes[at] ?? 0) + 3) & ~3) {
    found.push([at, 1]);
  }
  return found;
}

mutants(`are read within their bounds, and fit their family (seed ${SEED})`, () => {
  const from = mutator(SAMPLES, lengths);
  let [routes, neighbours] = [0, 0];
  for (let turn = 0; turn < COUNT; turn++) {
    const bytes = from.next();
    const messages = parseMessages(bytes);
    const total = messages.reduce((sum, { bytes: body }) => sum + HEADER_BYTES + body.length, 0);
    assert.ok(total <= bytes.length, named(bytes));
    const foundRoutes = messages.flatMap(({ bytes: body }) => parseRoute(body) ?? []);
    const foundNeighbours = messages.flatMap(({ bytes: body }) => parseNeighbour(body) ?? []);
    for (const { family, address, length, gateway } of foundRoutes) {
      const size = family === 4 ? 4 : 16;
      assert.is(address.length, size, named(bytes));
      assert.ok(length <= size * 8, named(bytes));
      assert.ok(gateway === undefined || gateway.length === size, named(bytes));
    }
    for (const { family, address } of foundNeighbours) {
      assert.is(address.length, family === 4 ? 4 : 16, named(bytes));
    }
    nextHops(7, foundRoutes, foundNeighbours);
    routes += foundRoutes.length;
    neighbours += foundNeighbours.length;
  }
  assert.ok(
    Math.min(routes, neighbours) > COUNT / 10,
    `${routes} routes, ${neighbours} neighbours`,
  );
});

mutants.run();
