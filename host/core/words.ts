/** The words of the façade: values that are numbers in the core. Must not know what they decide. */
import type { Tuple } from "./tuple.ts";

export type RecordState = "none" | "active" | "frozen" | "moved" | "closed" | "poisoned";

/** In the order of the core's enum RecordState. */
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

/** Settings of a connection, by their names in enum Option of the core; times in microseconds. */
export type SocketOption =
  "NODELAY" | "KEEPALIVE_US" | "KEEPALIVE_INTERVAL_US" | "USER_TIMEOUT_US" | "ECN";

/** Bytes inside linear memory: valid until the next call into the core. */
export interface Span {
  readonly ptr: number;
  readonly len: number;
}

export const NO_SPAN: Span = { ptr: 0, len: 0 };
export const NO_BYTES = new Uint8Array(0);
export const NO_ADDRESS = new Uint8Array(16);

export function familyOf(address: Uint8Array): 4 | 6 {
  return address.length === 4 ? 4 : 6;
}

/** Table slots looked at in one call of mapScan. */
export const SCAN_STEPS = 4096;
