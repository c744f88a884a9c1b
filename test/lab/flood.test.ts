/**
 * A SYN flood of spoofed addresses: who is connected goes on, who comes is served, memory stays, and every
 * SYN is accounted for (RFC 4987). BATON_FULL=1 floods longer and at 100,000 a second.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describe } from "../support/labclients.ts";
import {
  floodService,
  growthMax,
  quantile,
  VISIT_BYTES_MAX,
  VISIT_MS_MAX,
  type Flooded,
} from "../support/labflooded.ts";
import { IS_FULL, MIB, withService } from "../support/labservice.ts";

const flood = suite("flood");

const RATE = IS_FULL ? 100_000 : 40_000;
const SECONDS = IS_FULL ? 20 : 4;
const SEED = Number(process.env["BATON_SEED"] ?? 20_250_101);
const HALF_OPEN_MAX = 4096;
/** Blocks of half-open connections, touched once, and what a garbage collector leaves lying about. */
const GROWTH_MAX = 16 * MIB;
/**
 * A flood that was not one proves nothing. A quiet machine of two cores sends all of it, 100,000 a second; one that is
 * shared sends what it can, so a quarter is asked for in the long flood. `npm run bench:flood` asks for the whole rate.
 */
const SENT_MIN = (RATE * SECONDS) / (IS_FULL ? 4 : 8);

flood(`${RATE} spoofed SYNs a second for ${SECONDS} s harm nobody`, () =>
  withService("SYN flood", {}, async (service) => {
    judge(await floodService(service, RATE, SECONDS, SEED));
  }),
);

function judge(flooded: Flooded): void {
  const { flood: sent, rssBytes, deviceDrops, visits, transfers, counters } = flooded;
  const { core, link } = counters;
  process.stdout.write(`${Math.round(sent.sent / sent.seconds)} of ${RATE} SYNs a second\n`);
  const text = JSON.stringify({ sent, rssBytes, deviceDrops, core, link });
  assert.ok(sent.sent >= SENT_MIN, text);

  assert.is(
    transfers.filter(({ how }) => how === "done").length,
    transfers.length,
    describe(transfers),
  );
  const bad = visits.filter(({ received }) => !received.startsWith("HTTP/1.1 200"));
  assert.equal(bad, [], text);
  const times = visits.map(({ ms }) => ms).sort((a, b) => a - b);
  assert.ok(times.length >= 10, text);
  assert.ok(quantile(times, 1) < VISIT_MS_MAX, `${times.join(" ")} ms; ${text}`);

  const visited = visits.length * VISIT_BYTES_MAX;
  assert.ok(rssBytes.end - rssBytes.before < GROWTH_MAX + visited, text);
  // What goes on does not add to it.
  assert.ok(rssBytes.end - rssBytes.begun < growthMax(flooded), text);
  assert.ok(rssBytes.after - rssBytes.before < GROWTH_MAX + visited, text);

  // Each SYN was answered by a cookie, or began one of the half-open connections, or never came.
  const cookies = core?.["tcp_cookies_sent"] ?? 0;
  const known = cookies + deviceDrops + (core?.["tcp_syn_dropped"] ?? 0);
  assert.ok(cookies > 0, text);
  assert.ok(sent.sent - known <= HALF_OPEN_MAX + visits.length, `${known} known; ${text}`);
  assert.ok(known <= sent.sent + visits.length * 4, `${known} known; ${text}`);
  assert.is(core?.["tcp_replies_dropped"] ?? 0, 0, text);
}

flood.run();
