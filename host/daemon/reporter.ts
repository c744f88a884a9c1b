/**
 * Where reports of connections go: standard output, a line each, all of one turn of the loop in one write.
 * Knows the stream and both forms; must not know how a report comes about.
 */
import { formatReport, reportJson, type ConnectionReport } from "../observe/report.ts";

export interface ReporterOptions {
  readonly json: boolean;
  /** Only connections that failed. */
  readonly quiet: boolean;
  readonly write: (text: string) => void;
}

export class Reporter {
  readonly #options: ReporterOptions;
  #text = "";

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** To be asked before a report is made: one that nobody will read costs nothing. */
  wants(isFailure: boolean): boolean {
    return isFailure || !this.#options.quiet;
  }

  report(entry: ConnectionReport): void {
    if (this.#text === "") setImmediate(this.flush);
    this.#text += this.#options.json ? reportJson(entry) : formatReport(entry);
  }

  /** Writes what waits; also before anything else goes to the same stream. */
  readonly flush = (): void => {
    if (this.#text === "") return;
    this.#options.write(this.#text);
    this.#text = "";
  };
}

/** To standard output, as the configuration wants it. */
export function createReporter(config: Omit<ReporterOptions, "write">): Reporter {
  const { json, quiet } = config;
  return new Reporter({ json, quiet, write: (text) => process.stdout.write(text) });
}
