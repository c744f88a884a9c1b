/** What a holder and its workers say to each other, by the channel between processes. Must not know who says it. */
import type { ForwarderConfig } from "../config/config.ts";
import type { KeyFile } from "../config/key.ts";
import type { ControlAnswer, ControlRequest } from "../control/protocol.ts";
import type { CounterGroups } from "../observe/counters.ts";

/** The same at each start of a worker. */
export interface WorkerTask {
  readonly config: ForwarderConfig;
  readonly queue: number;
  /** The device's. */
  readonly mtu: number;
}

export type ToWorker =
  /** First; once. */
  | ({ readonly kind: "begin"; readonly fd: number; readonly keyFile: KeyFile } & WorkerTask)
  | { readonly kind: "keys"; readonly keyFile: KeyFile }
  | { readonly kind: "order"; readonly id: number; readonly request: ControlRequest }
  /** Nobody follows it any more; what was ordered stands. */
  | { readonly kind: "endOrder"; readonly id: number }
  | { readonly kind: "stop" };

export type FromWorker =
  | { readonly kind: "ready" }
  | { readonly kind: "answer"; readonly id: number; readonly answer: ControlAnswer }
  /** Last, when it was told to stop. */
  | { readonly kind: "counters"; readonly counters: CounterGroups }
  /** Last, when it cannot go on. */
  | { readonly kind: "failed"; readonly code: string; readonly message: string };
