/**
 * `batonlb/core`: the core for any JavaScript runtime. Knows which build a runtime takes; must not know where
 * its bytes come from, for that differs everywhere (a file, fetch, a bundler's asset).
 */
export { BatonError } from "../errors.ts";
export { formatAddress, parseAddress } from "./address.ts";
export type { PacketBatch } from "./batch.ts";
export {
  Core,
  type ClientNumbers,
  type ConnectionInfo,
  type CoreEvent,
  type CoreEventKind,
  type CoreMapping,
  type CoreParameters,
  type FlowRecord,
  type MapAction,
  type MapInfo,
  type Mode,
  type RecordState,
  type Span,
} from "./core.ts";
export { coreBuild, type CoreBuild } from "./builds.ts";
export { SMALL_PARAMETERS } from "./parameters.ts";
export type { Tuple } from "./tuple.ts";
