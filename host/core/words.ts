/** The words of the façade for small enums of the core. Knows names; must not know what follows from one. */
import type { Tuple } from "./tuple.ts";

export type RecordState = "none" | "active" | "frozen" | "moved" | "closed" | "poisoned";
/** In the order of RecordState in assembly/layout.ts. */
export const RECORD_STATES: readonly RecordState[] = [
  "none",
  "active",
  "frozen",
  "moved",
  "closed",
  "poisoned",
];

export interface FlowRecord {
  readonly peer: number;
  readonly flow: number;
  readonly state: RecordState;
  /** Undefined when the record does not know it. */
  readonly tuple: Tuple | undefined;
}

export type MapAction = "forward" | "local" | "tomb";
export type Mode = "rst-unknown" | "recovering" | "host-unknown";
