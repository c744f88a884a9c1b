/**
 * Idle connections cost memory for their block and nothing else: neither buffers nor work at the clock's ticks,
 * however many there are. Work is counted, not timed; BATON_FULL=1 times it too.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { initCore } from "../support/batch.ts";
import { Clients } from "../support/clients.ts";
import { type TestCore, openCore } from "../support/core.ts";

const idle = suite("idle");
const SECOND = 1_000_000;
const MANY = 100_000;
const FEW = 1_000;
/** The wheel has six levels; a deadline is put once, at most once on each level below, and once when it is met. */
const MOVES_MAX = 7;
const KEEP_ALIVE_US = 7200 * SECOND;
const isFull = process.env["BATON_FULL"] === "1";

function openWith(connections: number): TestCore {
  const core = openCore("release");
  const err = initCore(core, {
    connectionsMax: connections,
    halfOpenMax: connections,
    bufferBytes: 64 << 20,
    slotBytes: 2048,
  });
  assert.is(err, 0);
  return core;
}

/** A core with so many connections that have all carried data and are idle for an hour. */
function idlers(connections: number): { core: TestCore; clients: Clients; now: number } {
  const core = openWith(connections);
  const clients = new Clients(core, connections);
  clients.open(2 * SECOND);
  clients.exchange(100, 3 * SECOND);
  const now = 3600 * SECOND;
  core.f.handleTimeout!(now);
  return { core, clients, now };
}

const moves = (core: TestCore) => Number(core.f64.wheelMoves!());

idle("a connection takes at most 1,024 bytes, everything included", () => {
  const bytes = (connections: number) => openWith(connections).f.layoutTop!() >>> 0;
  const each = (bytes(MANY) - bytes(1)) / (MANY - 1);
  assert.ok(each <= 1024, `${each} bytes`);
});

idle("holds no buffer after data went both ways, and leaves nothing for the clock to do", () => {
  const { core, now } = idlers(MANY);
  assert.is(core.f.chunksUsed!(), 0);
  assert.is(core.f.nodesUsed!(), 0);
  assert.is(core.f.nextTimeoutUs!(), Infinity);
  const before = moves(core);
  for (let tick = 0; tick < 10_000; tick++) core.f.handleTimeout!(now + tick * 1000);
  assert.is(moves(core), before);
});

idle("looks at an idle connection when its keep-alive is due, and hardly before", () => {
  for (const connections of [FEW, MANY]) {
    const { core, clients, now } = idlers(connections);
    const option = core.constant("Option.KEEPALIVE_US");
    const start = moves(core);
    // Spread over ten minutes, as clients come.
    clients.handle.forEach((handle, index) => {
      core.f.handleTimeout!(now + (index / connections) * 600 * SECOND);
      assert.is(core.f.setOption!(handle, option, KEEP_ALIVE_US), 0);
    });
    let probes = 0;
    const end = now + KEEP_ALIVE_US + 601 * SECOND;
    for (let next = core.f.nextTimeoutUs!(); next < end; next = core.f.nextTimeoutUs!()) {
      core.f.handleTimeout!(next);
      for (let sent = core.f.pollTransmit!(next); sent > 0; sent = core.f.pollTransmit!(next)) {
        probes += sent;
      }
      if (probes >= connections) break;
    }
    assert.is(probes, connections, "each sent its probe");
    const each = (moves(core) - start) / connections;
    assert.ok(each <= MOVES_MAX, `${each} moves for each of ${connections}`);
  }
});

idle("a tick costs the same at 1,000 and at 100,000 idle connections", () => {
  const cores = [FEW, MANY].map((connections) => {
    const { core, clients, now } = idlers(connections);
    const option = core.constant("Option.KEEPALIVE_US");
    for (const handle of clients.handle) core.f.setOption!(handle, option, KEEP_ALIVE_US);
    return { core, now };
  });
  const TICKS = 2000;
  const measure = ({ core, now }: (typeof cores)[0], round: number): number => {
    const { handleTimeout, nextTimeoutUs } = core.f;
    const started = process.hrtime.bigint();
    for (let tick = 0; tick < TICKS; tick++) {
      handleTimeout!(now + (round * TICKS + tick) * 1000);
      nextTimeoutUs!();
    }
    return Number(process.hrtime.bigint() - started);
  };
  const ROUNDS = 61;
  const times = cores.map(() => [] as number[]);
  for (let round = 0; round < ROUNDS; round++) {
    cores.forEach((each, at) => times[at]!.push(measure(each, round)));
  }
  const [few, many] = times.map((list) => list.sort((a, b) => a - b)[ROUNDS >> 1]!);
  const ratio = many! / few!;
  // The same instructions run on the same few lines: 1.0 but for what else the machine does.
  assert.ok(ratio <= (isFull ? 1.5 : 3), `ratio ${ratio.toFixed(2)}`);
});

idle.run();
