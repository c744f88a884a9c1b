/** What a simulated run is given and what it tells. Knows scenarios; must not know how one is played. */
import type { Cipher, Log } from "../node/environment.ts";
import type { Scenario } from "./scenario.ts";

export interface RunOptions {
  readonly wasm: Uint8Array;
  readonly cipher: Cipher;
  readonly log: Log;
  readonly scenario: Scenario;
  /** Sees every packet and datagram once its fate is drawn; the time is wall time. */
  readonly trace?: (from: string, to: string, bytes: Uint8Array, us: number, fate: string) => void;
}

export interface RunResult {
  readonly scenario: Scenario;
  /** Empty: everything held. */
  readonly problems: readonly string[];
  /** What was done to the nodes, and the last things that happened before a problem. */
  readonly events: readonly string[];
  readonly packets: number;
  readonly virtualUs: number;
  readonly handoffs: number;
  /** From one backend to another. */
  readonly moves: number;
  /** Over every packet, its path and its time: the same seed gives the same one. */
  readonly digest: number;
}
