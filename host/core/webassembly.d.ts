/**
 * The part of the WebAssembly JavaScript interface that host/core uses. Every runtime has it; of
 * TypeScript's libraries only "dom" declares it, and the host must not see the rest of that one.
 */
declare namespace WebAssembly {
  class Global {
    readonly value: unknown;
  }
  class Memory {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
  function validate(bytes: Uint8Array): boolean;
}
