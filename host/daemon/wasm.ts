/** Where the core is. Knows the build's layout and nothing else. */

/** The build puts it beside build/host. */
export const CORE_WASM = new URL("../../core.wasm", import.meta.url);
