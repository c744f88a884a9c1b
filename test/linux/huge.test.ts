/** Huge pages on request: what the kernel notes of the pages, in the core's memory too. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonError } from "../../host/errors.ts";
import { adviseHugePages } from "../../host/linux/huge.ts";
import { libc } from "../../host/linux/libc.ts";
import { openCore } from "../support/core.ts";
import { initCore } from "../support/batch.ts";
import { isAdvised } from "../support/smaps.ts";

const huge = suite("huge pages");
const PAGE = 65_536;

/** Undefined: done; else the reason that the kernel has none, which is what a daemon logs. */
function reasonAgainst(memory: Uint8Array): string | undefined {
  try {
    adviseHugePages(memory);
    return undefined;
  } catch (error) {
    assert.instance(error, BatonError);
    assert.match((error as BatonError).message, /^huge pages: expected madvise or always in \/sys/);
    return (error as BatonError).message;
  }
}

huge("are asked for the core's whole memory, and for nothing beside it", () => {
  const core = openCore();
  const parameters = { mappings4Max: 1 << 18, slotBytes: 2048 };
  assert.is(initCore(core, parameters), 0);
  const other = openCore();
  assert.is(initCore(other, parameters), 0);
  const { bytes } = core;
  const first = libc().address(bytes);
  const last = first + bytes.length - 1;
  assert.is(first % PAGE, 0, "linear memory begins at a page");
  assert.not.ok(isAdvised(first));
  const reason = reasonAgainst(bytes);
  if (reason !== undefined) return void process.stdout.write(`SKIP ${reason}\n`);
  assert.ok(isAdvised(first) && isAdvised(last));
  assert.not.ok(isAdvised(libc().address(other.bytes)));
  assert.ok(
    bytes.subarray(bytes.length - PAGE).every((byte) => byte === 0),
    "nothing is lost",
  );
});

huge("leave what a range shares with its neighbours alone", () => {
  const bytes = new Uint8Array(new ArrayBuffer(3 * PAGE));
  const address = libc().address(bytes);
  const inner = PAGE - (address % PAGE);
  const reason = reasonAgainst(bytes.subarray(inner - 1, inner + PAGE - 1));
  if (reason !== undefined) return void process.stdout.write(`SKIP ${reason}\n`);
  assert.not.ok(isAdvised(address + inner), "no whole page is in it");
  adviseHugePages(bytes.subarray(inner, inner + PAGE));
  assert.ok(isAdvised(address + inner));
  assert.not.ok(isAdvised(address + inner + PAGE));
});

huge.run();
