/**
 * An application of its own for the lab that moves its connections in the middle of what they do: with
 * createBackend, socket.migrate() and nothing else.
 *
 *   GET /bytes/N/moves/M   N bytes of the pattern, given by M + 1 backends in turn
 *   GET /bytes/N/moves/M/flight/F   the same, with about F bytes at a time that the client has not acknowledged
 *   PUT /moves/M           reads a body of the pattern, in M + 1 parts of about the same length
 *
 * Prints a JSON line for each part of a body that it read, with its SHA-256, and for each move.
 */
import { createHash, type Hash } from "node:crypto";
import { createBackend, type BackendOptions, type BatonSocket } from "../../host/index.ts";

/** What the next backend needs to go on. */
interface Progress {
  readonly kind: "GET" | "PUT";
  readonly total: number;
  readonly moves: number;
  readonly flight: number;
  done: number;
  moved: number;
}

export interface Part {
  readonly event: "part";
  readonly from: number;
  readonly to: number;
  readonly sha256: string;
}

export interface Moved {
  readonly event: "moved";
  readonly outcome: string;
  readonly at: number;
  /** When it was asked for, in milliseconds since 1970. */
  readonly atMs: number;
}

const CHUNK = 65_536;

/** The pattern of host/lab/pattern.ts from `offset` on, a multiple of 8. */
function patternAt(offset: number, count: number): Buffer {
  const numbers = new Float64Array(CHUNK / 8);
  for (let at = 0; at < numbers.length; at += 1) numbers[at] = offset + 8 * at + 0.5;
  return Buffer.from(numbers.buffer, 0, count);
}

function say(line: Part | Moved): void {
  process.stdout.write(JSON.stringify(line) + "\n");
}

class Session {
  readonly #socket: BatonSocket;
  #progress: Progress | undefined;
  #hash: Hash = createHash("sha256");
  #from = 0;
  #head = "";
  #isMoving = false;

  constructor(socket: BatonSocket, state: Uint8Array) {
    this.#socket = socket;
    socket.on("error", (error) => process.stderr.write(`${String(error)}\n`));
    if (state.length > 0) {
      this.#progress = JSON.parse(Buffer.from(state).toString()) as Progress;
      this.#from = this.#progress.done;
    }
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    if (this.#progress) this.#goOn(this.#progress);
  }

  #take(chunk: Buffer): void {
    const progress = this.#progress;
    if (progress) return this.#read(progress, chunk);
    this.#head += chunk.toString("latin1");
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#head.slice(0, end);
    const get = /^GET \/bytes\/(\d+)\/moves\/(\d+)(?:\/flight\/(\d+))? /.exec(head);
    const put = /^PUT \/moves\/(\d+) /.exec(head);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    const total = get ? Number(get[1]) : length;
    const moves = Number(get?.[2] ?? put?.[1] ?? 0);
    const flight = Number(get?.[3] ?? Infinity);
    const kind = get ? "GET" : "PUT";
    this.#progress = { kind, total, moves, flight, done: 0, moved: 0 };
    const rest = Buffer.from(this.#head.slice(end + 4), "latin1");
    if (get) {
      this.#socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${total}\r\nx-backend: many\r\n\r\n`);
      this.#goOn(this.#progress);
    } else if (rest.length > 0) this.#read(this.#progress, rest);
  }

  #goOn(progress: Progress): void {
    if (progress.kind === "GET") this.#give(progress);
    else this.#finishIfRead(progress);
  }

  /** Where the next move is due. */
  #nextMove({ total, moves, moved }: Progress): number {
    return moved < moves ? Math.floor((total * (moved + 1)) / (moves + 1)) : Infinity;
  }

  #give(progress: Progress): void {
    while (progress.done < progress.total && !this.#isMoving) {
      if (progress.done >= this.#nextMove(progress)) return void this.#move(progress);
      // JSON has no Infinity: null, which is no limit either.
      if (progress.flight > 0 && this.#socket.connection.writableLength > progress.flight) {
        setTimeout(() => this.#give(progress), 1);
        return;
      }
      const chunk = patternAt(progress.done, Math.min(CHUNK, progress.total - progress.done));
      progress.done += chunk.length;
      if (this.#socket.write(chunk)) continue;
      this.#socket.once("drain", () => this.#give(progress));
      return;
    }
  }

  #read(progress: Progress, chunk: Buffer): void {
    this.#hash.update(chunk);
    progress.done += chunk.length;
    if (this.#isMoving) return;
    if (progress.done >= this.#nextMove(progress)) void this.#move(progress);
    else this.#finishIfRead(progress);
  }

  #finishIfRead(progress: Progress): void {
    if (progress.done < progress.total) return;
    this.#tell(progress);
    const body = JSON.stringify({ bytes: progress.done });
    const head = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nx-backend: many\r\n\r\n`;
    this.#socket.write(head + body);
  }

  async #move(progress: Progress): Promise<void> {
    this.#isMoving = true;
    const atMs = performance.timeOrigin + performance.now();
    const state = (): Buffer =>
      Buffer.from(JSON.stringify({ ...progress, moved: progress.moved + 1 }));
    const outcome = await this.#socket.migrate({ state });
    say({ event: "moved", outcome: outcome.kind, at: progress.done, atMs });
    this.#isMoving = false;
    if (outcome.kind === "moved") return this.#tell(progress);
    progress.moved += 1; // It goes on here; the test counts the moves.
    this.#goOn(progress);
  }

  #tell({ kind, done }: Progress): void {
    if (kind !== "PUT") return;
    say({ event: "part", from: this.#from, to: done, sha256: this.#hash.digest("hex") });
    this.#hash = createHash("sha256");
    this.#from = done;
  }
}

const options = JSON.parse(process.argv[2] ?? "{}") as BackendOptions;
const backend = await createBackend(options);
backend.on("connection", (socket, { state }) => void new Session(socket, state));
process.stdout.write('{"event":"ready"}\n');
process.once("SIGINT", () => void backend.close({ graceMs: 1_000 }));
