/** Huge pages for tables: asked for when a table is full enough, never before, and what the kernel notes of it. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import { TablePages, isWorthIt } from "../../host/daemon/pages.ts";
import { CORE_WASM } from "../../host/daemon/wasm.ts";
import { libc } from "../../host/linux/libc.ts";
import type { Log } from "../../host/node/environment.ts";
import { hugeMib, isAdvised } from "../support/smaps.ts";

const pages = suite("huge pages for tables");

const MIB = 2 ** 20;
const MAPPINGS = 1 << 17;
/** Entries and empty slots, 32 bytes each. */
const TABLE_BYTES = MAPPINGS * 48;
const VIP = Uint8Array.of(10, 0, 0, 100);
const NONE = "expected madvise or always in /sys/kernel/mm/transparent_hugepage/enabled";

interface Stand {
  readonly core: Core;
  readonly said: string[];
  readonly log: Log;
}

function stand(): Stand {
  const core = new Core(
    readFileSync(CORE_WASM),
    {
      ...SMALL_PARAMETERS,
      mappings4Max: MAPPINGS,
      hashSecret: new Uint8Array(16).fill(7),
      isnSecret: new Uint8Array(16),
      wallMs: 0,
    },
    1e6,
  );
  core.setPeer(1, Uint8Array.of(10, 9, 0, 2));
  core.addService(VIP, 80, 0, false);
  const said: string[] = [];
  return { core, said, log: { write: (level, text) => void said.push(`${level} ${text}`) } };
}

function map(core: Core, from: number, to: number): void {
  for (let index = from; index < to; index++) {
    const remote = Uint8Array.of(20, index >> 16, (index >> 8) & 255, index & 255);
    const tuple = { family: 4 as const, remote, remotePort: 1024, local: VIP, localPort: 80 };
    const flow = 0x00010001 + Math.floor(index / 65535) * 65536 + (index % 65535);
    core.mapSet(tuple, "forward", 1, flow);
  }
}

function table(core: Core, name: string): Uint8Array {
  return core.tables.list().find((one) => one.name === name)!.memory;
}

/** Whether the first, the middle and the last byte are in memory whose pages may be huge. */
function advised(memory: Uint8Array): boolean[] {
  const address = libc().address(memory);
  return [0, memory.length >> 1, memory.length - 1].map((at) => isAdvised(address + at));
}

pages("are worth it from two entries a small page on, in tables of a huge page at least", () => {
  const rows = [
    [0, 48 * MIB, false],
    [24_575, 48 * MIB, false],
    [24_576, 48 * MIB, true],
    [1_048_576, 48 * MIB, true],
    [1_024, 2 * MIB, true],
    [1_024, 2 * MIB - 32, false],
  ] as const;
  for (const [entries, bytes, expected] of rows) {
    assert.is(isWorthIt(entries, bytes), expected, `${entries} in ${bytes}`);
  }
});

pages("the core says where its tables lie, and how full they are", () => {
  const { core } = stand();
  map(core, 0, 3);
  const lies = core.tables
    .list()
    .map(({ name, entries, memory }) => [name, entries, memory.length]);
  assert.equal(lies, [
    ["mappings4", 3, TABLE_BYTES],
    ["mappings6", 0, (4096 + 2730) * 48],
    ["records", 0, (9216 + 4608 + 8) * 64],
  ]);
  const filled = table(core, "mappings4").reduce((sum, byte) => sum + (byte === 0 ? 0 : 1), 0);
  assert.ok(filled >= 3 * 8, "the mappings are in there");
  assert.is(core.tables.usage()["mappings4"], 3);
});

pages("are asked for a table once it is full enough, and for no other", () => {
  const { core, said, log } = stand();
  const tables = new TablePages(core, "auto", log);
  const enough = (TABLE_BYTES / 4096) * 2;
  map(core, 0, enough - 1);
  tables.look();
  assert.equal(tables.counters, { askedMib: 0, gatheredMib: 0, refused: 0 });
  assert.equal(advised(table(core, "mappings4")), [false, false, false]);
  map(core, enough - 1, enough);
  tables.look();
  tables.look();
  if (tables.counters.refused === 1) {
    assert.is(said.length, 1);
    assert.ok(said[0]!.startsWith("info huge pages: ") && said[0]!.includes(NONE), said[0]);
    return void process.stdout.write(`SKIP huge pages for tables: ${said[0]}\n`);
  }
  const { askedMib } = tables.counters;
  assert.ok(askedMib >= 6 && askedMib <= 10, `6 MiB and its neighbours, once: ${askedMib}`);
  assert.equal(said, []);
  assert.equal(advised(table(core, "mappings4")), [true, true, true]);
  const last = core.memory.subarray(core.memory.length - 4 * MIB);
  const before = core.memory.slice();
  const steps = [tables.step()];
  while (steps.at(-1)) steps.push(tables.step());
  const { gatheredMib } = tables.counters;
  // Memory may begin within a huge page: that one is none of ours.
  const whole = gatheredMib >= askedMib - 2;
  // One step each; one that fails ends it, as in a kernel before 6.1, or one without room.
  assert.is(steps.length, gatheredMib / 2 + (whole ? 1 : 2), `${gatheredMib} of ${askedMib} MiB`);
  assert.is(Buffer.compare(before, core.memory), 0, "nothing is lost");
  const address = libc().address(table(core, "mappings4"));
  assert.ok(hugeMib(address) >= gatheredMib, `${hugeMib(address)} of ${gatheredMib} MiB`);
  if (!whole) process.stdout.write("SKIP huge pages for tables: not all gathered\n");
  assert.equal(advised(last), [false, false, false]);
  tables.close();
});

pages("never means never, always means all of it, at once", () => {
  const never = stand();
  const none = new TablePages(never.core, "never", never.log);
  map(never.core, 0, MAPPINGS);
  none.look();
  assert.equal([none.counters, never.said], [{ askedMib: 0, gatheredMib: 0, refused: 0 }, []]);
  assert.equal(advised(never.core.memory), [false, false, false]);
  const always = stand();
  const all = new TablePages(always.core, "always", always.log);
  if (all.counters.refused === 1) {
    assert.ok(always.said[0]!.startsWith("warn huge pages: "), always.said[0]);
    return void process.stdout.write(`SKIP huge pages for tables: ${always.said[0]}\n`);
  }
  assert.is(all.counters.askedMib, Math.round(always.core.memory.length / MIB));
  assert.equal(advised(always.core.memory), [true, true, true]);
});

pages.run();
