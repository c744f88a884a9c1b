/**
 * A SYN flood of spoofed addresses: who is connected goes on, who comes is served, memory stays, and every
 * SYN is accounted for (RFC 4987). BATON_FULL=1 floods longer and at 100,000 a second.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describe } from "../support/labclients.ts";
import { floodService, quantile, type Flooded } from "../support/labflooded.ts";
import { IS_FULL, MIB, withService } from "../support/labservice.ts";

const flood = suite("flood");

const RATE = IS_FULL ? 100_000 : 40_000;
const SECONDS = IS_FULL ? 20 : 4;
const SEED = Number(process.env["BATON_SEED"] ?? 20_250_101);
const HALF_OPEN_MAX = 4096;
/** Blocks of half-open connections, touched once, and what a garbage collector leaves lying about. */
const GROWTH_MAX = 16 * MIB;
const GROWTH_LATER_MAX = 8 * MIB;
/** A visit's verdict is remembered for a minute (T_RECORD); the rest of it is garbage. */
const VISIT_BYTES_MAX = 16 * 1024;
/**
 * A SYN that the machine had no time for is repeated after 1, 2 and 4 s by the client's kernel; three in a row
 * are not to be explained by load.
 */
const VISIT_MS_MAX = 7_000;
/** A flood that was not one proves nothing; a busy machine sends as much as it can. */
const SENT_MIN = 20_000;

flood(`${RATE} spoofed SYNs a second for ${SECONDS} s harm nobody`, () =>
  withService("SYN flood", {}, async (service) => {
    judge(await floodService(service, RATE, SECONDS, SEED));
  }),
);

function judge({ flood: sent, rssBytes, deviceDrops, visits, transfers, counters }: Flooded): void {
  const { core, link } = counters;
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
  assert.ok(rssBytes.end - rssBytes.begun < GROWTH_LATER_MAX + visited, text);
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
