/** What every shipped build of the core keeps: no imports, one growth of memory, no trap whatever is called. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { initCore } from "../support/batch.ts";
import type { TestCore } from "../support/core.ts";
import { ROOT } from "../house/source.ts";

type CoreFunction = (...args: number[]) => number;

/** The little of WebAssembly's types that is used here. */
declare const WebAssembly: {
  Instance: new (module: object) => { readonly exports: Record<string, unknown> };
  Module: {
    new (bytes: Uint8Array): object;
    imports(module: object): { module: string; name: string }[];
    exports(module: object): { name: string; kind: string }[];
  };
};

for (const file of ["core.wasm", "core-baseline.wasm"]) {
  const abi = suite(file);
  const MODULE = new WebAssembly.Module(readFileSync(join(ROOT, "build", file)));

  function exported(kind: string): string[] {
    return WebAssembly.Module.exports(MODULE)
      .filter((item) => item.kind === kind)
      .map(({ name }) => name);
  }

  /** An instance of the shipped module: it has no imports. */
  function open(): { core: TestCore; memoryBytes: () => number } {
    const { exports } = new WebAssembly.Instance(MODULE);
    const memory = exports["memory"] as { buffer: ArrayBuffer };
    const core: Pick<TestCore, "f" | "constant" | "view" | "write"> = {
      f: exports as Record<string, CoreFunction>,
      constant: (name) => (exports[name] as { value: number }).value,
      get view() {
        return new DataView(memory.buffer);
      },
      write(ptr, data) {
        new Uint8Array(memory.buffer).set(data, ptr);
        return ptr;
      },
    };
    // The rest of TestCore is not used here.
    return { core: core as TestCore, memoryBytes: () => memory.buffer.byteLength };
  }

  abi("needs no import", () => {
    assert.equal(WebAssembly.Module.imports(MODULE), []);
  });

  abi("exports its memory and nothing else that can be written", () => {
    assert.equal(exported("memory"), ["memory"]);
    assert.equal(exported("table"), []);
  });

  abi("takes init once, and grows memory in it and never again", () => {
    const { core, memoryBytes } = open();
    const init = () => initCore(core);
    const before = memoryBytes();
    assert.is(init(), 0);
    const after = memoryBytes();
    assert.ok(after > before, "memory grew");
    assert.is(init(), core.constant("Err.STATE"));
    assert.is(memoryBytes(), after);
  });

  abi("refuses parameters that it cannot have, and takes good ones after that", () => {
    const { core } = open();
    assert.is(initCore(core, { slotBytes: 1 }), core.constant("Err.ARGUMENT"));
    assert.is(initCore(core, {}, NaN), core.constant("Err.ARGUMENT"));
    assert.is(initCore(core), 0);
  });

  abi("answers any call in any order without a trap, and never grows again", () => {
    const names = exported("function").filter((name) => name !== "init");
    const values = [
      0,
      1,
      2,
      4,
      6,
      63,
      64,
      65,
      255,
      65_536,
      2 ** 31 - 1,
      -1,
      -(2 ** 31),
      NaN,
      Infinity,
    ];
    const argument = fc.oneof(
      fc.constantFrom(...values),
      fc.integer(),
      fc.integer({ max: 200_000 }),
    );
    const call = fc.tuple(
      fc.constantFrom(...names),
      fc.array(argument, { minLength: 6, maxLength: 6 }),
    );
    fc.assert(
      fc.property(fc.boolean(), fc.array(call, { minLength: 1, maxLength: 40 }), (early, calls) => {
        const { core, memoryBytes } = open();
        if (!early) assert.is(initCore(core), 0);
        const bytes = memoryBytes();
        for (const [name, args] of calls) {
          try {
            core.f[name]?.(...args);
          } catch (error) {
            throw new Error(`${name}(${args.join()}) traps: ${String(error)}`, { cause: error });
          }
        }
        assert.is(memoryBytes(), bytes);
      }),
      { numRuns: 200 },
    );
  });

  abi.run();
}
