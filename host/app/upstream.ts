/**
 * Any unmodified server as the application of migrated connections: each is spliced to a connection of
 * its own. Knows which splices there are; must not know what passes through them.
 */
import type { Connection } from "../node/connection.ts";
import type { Application, CloseReport } from "./application.ts";
import { byRequest } from "./requests.ts";
import { Roster } from "./roster.ts";
import { isForeign, Splice } from "./splice.ts";
import type { SpliceOptions, SpliceOutcome, SpliceReport, UpstreamTarget } from "./splice.ts";

export interface UpstreamOptions extends SpliceOptions {
  /** Called for each connection when nothing of it is left. */
  readonly onEnd?: ((connection: Connection, report: SpliceReport) => void) | undefined;
}

export interface UpstreamCounts {
  readonly open: number;
  readonly bytesToUpstream: number;
  readonly bytesToClient: number;
  readonly outcomes: Readonly<Record<SpliceOutcome, number>>;
}

/** Joins one connection to `target`; resolves when nothing of it is left, never rejects. */
export function splice(
  connection: Connection,
  target: UpstreamTarget,
  options: SpliceOptions = {},
): Promise<SpliceReport> {
  return new Promise((resolve) => new Splice(connection, target, options, resolve));
}

export class UpstreamApplication implements Application {
  readonly #target: UpstreamTarget;
  readonly #options: UpstreamOptions;
  readonly #roster = new Roster<Splice>();
  readonly #outcomes: Record<SpliceOutcome, number> = {
    ended: 0,
    refused: 0,
    "client-reset": 0,
    "upstream-reset": 0,
    aborted: 0,
    moved: 0,
  };
  #bytesToUpstream = 0;
  #bytesToClient = 0;
  #closing = false;

  constructor(target: UpstreamTarget, options: UpstreamOptions = {}) {
    this.#target = target;
    this.#options = options;
  }

  get connections(): number {
    return this.#roster.size;
  }

  get isServing(): boolean {
    return this.accepts();
  }

  accepts(): boolean {
    return !this.#closing;
  }

  accept(connection: Connection): void {
    // What an application of its own sent along means nothing to the server behind.
    if (this.#closing || isForeign(connection)) {
      connection.abort();
      return;
    }
    const joined = new Splice(byRequest(connection), this.#target, this.#options, (report) => {
      this.#roster.delete(joined);
      this.#outcomes[report.outcome] += 1;
      this.#bytesToUpstream += report.bytesToUpstream;
      this.#bytesToClient += report.bytesToClient;
      this.#options.onEnd?.(connection, report);
    });
    this.#roster.add(joined);
  }

  /** Both ends decide when they are done; a splice cannot tell one message from the next. */
  close(limitMs: number): Promise<CloseReport> {
    this.#closing = true;
    return this.#roster.emptied(limitMs, (joined) => joined.abort());
  }

  counts(): UpstreamCounts {
    const sums = { up: this.#bytesToUpstream, down: this.#bytesToClient };
    for (const joined of this.#roster) {
      sums.up += joined.bytesToUpstream;
      sums.down += joined.bytesToClient;
    }
    return {
      open: this.#roster.size,
      bytesToUpstream: sums.up,
      bytesToClient: sums.down,
      outcomes: { ...this.#outcomes },
    };
  }
}
