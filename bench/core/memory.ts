/** What a mapping and an idle connection take of linear memory, and what the clock's ticks cost. */
import { initCore } from "../../test/support/batch.ts";
import { Clients } from "../../test/support/clients.ts";
import { type TestCore, openCore } from "../../test/support/core.ts";
import { median } from "./wire.ts";

const SECOND = 1_000_000;
const KEEP_ALIVE_US = 7200 * SECOND;
const TICKS = 2000;

function sizeWith(parameters: Record<string, number>): number {
  return opened(parameters).f.layoutTop!() >>> 0;
}

function opened(parameters: Record<string, number>): TestCore {
  const core = openCore("release");
  const few = {
    mappings4Max: 1,
    mappings6Max: 1,
    recordsMax: 1,
    bufferBytes: 1 << 20,
    slotBytes: 2048,
  };
  const err = initCore(core, { ...few, ...parameters });
  if (err !== 0) throw new Error(`init returned ${err}`);
  return core;
}

/** Bytes of the whole region for each entry at the declared limit: empty slots and all. */
export function bytesPerMapping(family: 4 | 6, flows: number): number {
  const name = `mappings${family}Max`;
  return (sizeWith({ [name]: flows }) - sizeWith({ [name]: 0 })) / flows;
}

/** Bytes for each connection at the declared limit: block, tables and timers; buffers hold nothing. */
export function bytesPerIdleConnection(connections: number): number {
  const without = sizeWith({ connectionsMax: 0 });
  return (sizeWith({ connectionsMax: connections }) - without) / connections;
}

/** Time of handleTimeout and nextTimeoutUs with very many idle connections over that with few, interleaved. */
export function tickRatio(few: number, many: number, keepAlive: boolean, rounds: number): number {
  const cores = [few, many].map((connections) => {
    const core = opened({
      connectionsMax: connections,
      halfOpenMax: connections,
      bufferBytes: 8 << 20,
    });
    const clients = new Clients(core, connections);
    clients.open(2 * SECOND);
    clients.exchange(100, 3 * SECOND);
    core.f.handleTimeout!(3600 * SECOND);
    const option = core.constant("Option.KEEPALIVE_US");
    for (const handle of clients.handle) {
      if (keepAlive) core.f.setOption!(handle, option, KEEP_ALIVE_US);
    }
    return core;
  });
  const times = cores.map(() => [] as number[]);
  for (let round = 0; round < rounds; round++) {
    cores.forEach(({ f }, at) => {
      const { handleTimeout, nextTimeoutUs } = f;
      const started = process.hrtime.bigint();
      for (let tick = 0; tick < TICKS; tick++) {
        handleTimeout!(3600 * SECOND + (round * TICKS + tick) * 1000);
        nextTimeoutUs!();
      }
      times[at]!.push(Number(process.hrtime.bigint() - started));
    });
  }
  return median(times[1]!) / median(times[0]!);
}
