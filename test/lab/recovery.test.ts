/**
 * Recovery as a client sees it, on real packets: what is lost comes again within a round trip and a half and
 * without a timeout, the tail is probed for, a needless retransmission is taken back (RFC 8985, 3522, 4015).
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CapturedPacket } from "../../host/lab/capture.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { MIB, withService, type Counters, type TestService } from "../support/labservice.ts";

const recovery = suite("recovery");

const DELAY_MS = 50;
const RTT_MS = 2 * DELAY_MS;
const HOST = "api.example";
const TAIL_TRIES = 5;
/** What a scheduler under load may add, below the 200 ms that a timeout takes at least. */
const LATE_MS = 80;
/** Far below the 500 and more that an idle machine carries, far above what stop-and-wait would. */
const CLEAN_MB_PER_SECOND_MIN = 5;

/** How the client's packets with data arrived: the last one of all, and the hole, if there was one. */
interface Arrivals {
  readonly packets: number;
  readonly lost: number;
  /** When the lost packet should have come (the next one did), and when it came. */
  readonly hole: { readonly openedMs: number; readonly filledMs: number } | undefined;
}

function judge(packets: readonly CapturedPacket[], lost: number): Arrivals {
  let next: number | undefined;
  let missing: number | undefined;
  let openedMs = 0;
  let filledMs = 0;
  for (const { tcp, time } of packets) {
    if (tcp === undefined) continue;
    const end = (tcp.seq + tcp.payloadLen) >>> 0;
    next ??= tcp.seq;
    if (tcp.seq === next) next = end;
    else if (missing === undefined) {
      missing = next;
      openedMs = time;
    }
    if (missing !== undefined && filledMs === 0 && covers(tcp, missing)) filledMs = time;
  }
  const hole = missing === undefined ? undefined : { openedMs, filledMs };
  return { packets: packets.length, lost, hole };
}

/** Whether the byte at `seq` is in the segment. */
function covers(segment: { seq: number; payloadLen: number }, seq: number): boolean {
  return (seq - segment.seq) >>> 0 < segment.payloadLen;
}

/** One download over a path that loses the packets of these numbers. */
async function download(service: TestService, bytes: number, lose: number[]): Promise<Arrivals> {
  const { lab } = service;
  const box = await lab.middlebox("client", { delayMs: DELAY_MS, down: { lose } });
  const packets: CapturedPacket[] = [];
  const capture = await lab.capture("client", (packet) => {
    if (packet.direction === "in" && (packet.tcp?.payloadLen ?? 0) > 0) packets.push(packet);
  });
  const asks = [{ host: HOST, path: `/bytes/${bytes}` }];
  const got = await service.visit({ family: 4, asks });
  await capture.stop();
  const { down } = await box.close();
  assert.equal([got.error, got.answers[0]?.sha256], [undefined, patternSha256(bytes)]);
  return judge(packets, down.lost);
}

function sum(counters: Map<string, Counters>, name: string): number {
  return ["b1", "b2"].reduce(
    (total, node) => total + (counters.get(node)?.["core"]?.[name] ?? 0),
    0,
  );
}

recovery("a lost segment comes again without a timeout, a lost tail by a probe", async () => {
  await withService("recovery", {}, async (service) => {
    const bytes = 32 * MIB;
    const started = performance.now();
    const clean = await service.visit({
      family: 4,
      asks: [{ host: HOST, path: `/bytes/${bytes}` }],
    });
    const rate = bytes / (performance.now() - started) / 1000;
    assert.is(clean.answers[0]?.sha256, patternSha256(bytes));
    assert.ok(rate > CLEAN_MB_PER_SECOND_MIN, `${rate.toFixed(1)} MB/s on a clean path`);

    const { hole } = await download(service, 300_000, [100]);
    assert.ok(hole, "a segment was lost in the middle");
    const tookMs = hole.filledMs - hole.openedMs;
    assert.ok(
      tookMs > 0.9 * RTT_MS && tookMs < 1.5 * RTT_MS + LATE_MS,
      `filled after ${tookMs} ms`,
    );

    // How many packets an answer takes depends on how its server writes: the last one is the tail.
    let tail = await download(service, 20_000, []);
    for (let tries = 1; ; tries += 1) {
      tail = await download(service, 20_000, [tail.packets]);
      if (tail.lost === 1 && tail.hole === undefined) break; // nothing came behind it
      assert.ok(tries < TAIL_TRIES, "the last packet was lost in one of five downloads");
    }

    const counters = await service.counters();
    assert.is(sum(counters, "tcp_timeouts"), 0, "retransmission timeouts");
    assert.ok(sum(counters, "tcp_recoveries") >= 1, "fast recovery");
    assert.ok(sum(counters, "tcp_tail_probes") >= 1, "tail loss probe");
  });
});

recovery("a path that is suddenly slow costs no window: the timeout is undone", async () => {
  await withService("spurious timeout", {}, async (service) => {
    const bytes = 8 * MIB;
    const box = await service.lab.middlebox("client", { delayMs: 20 });
    let seen = 0;
    let slower: Promise<void> | undefined;
    const capture = await service.lab.capture(
      "client",
      ({ direction, length }) => {
        if (direction === "in") seen += length;
        if (seen > bytes / 16) slower ??= box.change({ delayMs: 400 });
      },
      { snapLen: 128 },
    );
    const asks = [{ host: HOST, path: `/bytes/${bytes}` }];
    const got = await service.visit({ family: 4, asks });
    await slower;
    await capture.stop();
    await box.close();
    assert.equal([got.error, got.answers[0]?.sha256], [undefined, patternSha256(bytes)]);
    const counters = await service.counters();
    assert.ok(sum(counters, "tcp_timeouts") >= 1, "the path was slower than any timeout");
    assert.ok(sum(counters, "tcp_undone") >= 1, "and nothing was lost");
  });
});

recovery.run();
