/** Which build of the core a runtime can take. Knows WebAssembly's features; must not know files. */

/** Names of the package's exports: `batonlb/core.wasm`, `batonlb/core-baseline.wasm`. */
export type CoreBuild = "core.wasm" | "core-baseline.wasm";

/** A module of one function that returns v128.const 0, the shortest that only SIMD makes valid. */
const NEEDS_SIMD = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b], // type 0: () -> v128
  ...[0x03, 0x02, 0x01, 0x00], // function 0 has type 0
  ...[0x0a, 0x16, 0x01, 0x14, 0x00, 0xfd, 0x0c], // its code: v128.const
  ...new Uint8Array(16),
  0x0b,
);

/** The build for this runtime: "core.wasm" where it has SIMD. */
export function coreBuild(): CoreBuild {
  return WebAssembly.validate(NEEDS_SIMD) ? "core.wasm" : "core-baseline.wasm";
}
