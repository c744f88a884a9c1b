/**
 * Where reports of connections go: standard output, a line each, those of one turn of the loop together.
 * Knows the stream and both forms; must not know how a report comes about.
 */
import { formatReport, reportJson, type ConnectionReport } from "../observe/report.ts";

/** PIPE_BUF: so much is written to a pipe in one piece, and workers of one node may share theirs (pipe(7)). */
const PIECE_BYTES = 4096;

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
    const text = this.#text;
    this.#text = "";
    for (const part of wholeLines(text)) this.#options.write(part);
  };
}

/** The same text in pieces that end with a line, and are small enough wherever a line is. */
function wholeLines(text: string): string[] {
  if (Buffer.byteLength(text) <= PIECE_BYTES) return [text];
  const pieces = [""];
  let room = PIECE_BYTES;
  for (const line of text.split(/(?<=\n)/)) {
    const bytes = Buffer.byteLength(line);
    if (bytes > room && room < PIECE_BYTES) {
      pieces.push("");
      room = PIECE_BYTES;
    }
    pieces[pieces.length - 1] += line;
    room -= bytes;
  }
  return pieces;
}

/** To standard output, as the configuration wants it. */
export function createReporter(config: Omit<ReporterOptions, "write">): Reporter {
  const { json, quiet } = config;
  return new Reporter({ json, quiet, write: (text) => process.stdout.write(text) });
}
