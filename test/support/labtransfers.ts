/**
 * Many connections of a kernel's TCP client that last: downloads and uploads of bounded speed, and idle ones.
 * Reads TransferOptions as one JSON line from its standard input, prints one TransferEvent a line. A second
 * line ends the idle ones: each asks once more, over the same connection, and closes.
 */
import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { patternChunks } from "../../host/lab/pattern.ts";

export type TransferKind = "download" | "upload" | "idle";

export interface TransferGroup {
  readonly kind: TransferKind;
  readonly host: string;
  readonly count: number;
}

export interface TransferOptions {
  readonly address: string;
  readonly port: number;
  readonly groups: readonly TransferGroup[];
  /** Of each download and upload. */
  readonly bytes: number;
  /**
   * How long each takes at least. The server spreads a download: a client that reads slowly would learn of a
   * reset only after all that its kernel holds.
   */
  readonly seconds: number;
}

/**
 * "steady": the first eighth has moved; an idle one has its answer. "end": "done" with every byte right, or the
 * error's code, "closed early", "wrong bytes".
 */
export interface TransferEvent {
  readonly id: number;
  readonly kind: TransferKind;
  readonly host: string;
  readonly event: "steady" | "end";
  readonly how: string;
  /** Wall clock of this machine, milliseconds. */
  readonly atMs: number;
  readonly bytes: number;
  /** The client's own end. */
  readonly client: string;
}

const TICK_MS = 50;
const CHUNK = 65_536;

const lines = createInterface({ input: process.stdin });
const transfers: Transfer[] = [];
let isBegun = false;
lines.on("line", (line) => {
  if (isBegun) for (const transfer of transfers) transfer.finish();
  else begin(JSON.parse(line) as TransferOptions);
  isBegun = true;
});

function begin(options: TransferOptions): void {
  for (const group of options.groups) {
    for (let count = 0; count < group.count; count += 1) {
      transfers.push(new Transfer(transfers.length, group, options));
    }
  }
  const timer = setInterval(() => {
    for (const transfer of transfers) transfer.tick();
    if (!transfers.every(({ isEnded }) => isEnded)) return;
    clearInterval(timer);
    lines.close();
    process.stdin.destroy();
  }, TICK_MS);
}

class Transfer {
  isEnded = false;
  readonly #id: number;
  readonly #group: TransferGroup;
  readonly #options: TransferOptions;
  readonly #socket: Socket;
  readonly #hash = createHash("sha256");
  readonly #expected: string;
  /** Of an upload; the rest waits for its tick. */
  readonly #chunks: Iterator<Buffer>;
  #allowed = 0;
  #moved = 0;
  #isSteady = false;
  #head = "";
  #bodyLen = 0;
  #isFinishing = false;
  #answers = 0;

  constructor(id: number, group: TransferGroup, options: TransferOptions) {
    this.#id = id;
    this.#group = group;
    this.#options = options;
    this.#chunks = patternChunks(options.bytes);
    this.#expected = digestOf(options.bytes);
    const { address: host, port } = options;
    this.#socket = connect({ host, port, noDelay: true }, () => this.#ask());
    this.#socket.on("data", (bytes) => this.#take(bytes));
    this.#socket.on("error", (error: NodeJS.ErrnoException) => this.#end(error.code ?? "error"));
    this.#socket.on("end", () => this.#end("closed early"));
    this.#socket.on("close", () => this.#end("closed early"));
  }

  /** Lets the next bytes of an upload go, as far as its speed allows. */
  tick(): void {
    if (this.isEnded || this.#socket.connecting) return;
    if (this.#group.kind !== "upload") return;
    const { bytes, seconds } = this.#options;
    const step = (bytes / seconds) * (TICK_MS / 1000);
    this.#allowed = Math.min(this.#allowed + step, this.#moved + 2 * Math.max(step, CHUNK));
    while (this.#moved + CHUNK <= this.#allowed) {
      if (this.#socket.writableLength > CHUNK) return;
      const { value, done } = this.#chunks.next() as IteratorResult<Buffer, undefined>;
      if (done === true || value === undefined) return;
      this.#moved += value.length;
      this.#socket.write(value);
      if (this.#moved >= this.#options.bytes / 8) this.#steady();
    }
  }

  /** An idle one asks again and ends; the others end by themselves. */
  finish(): void {
    if (this.isEnded || this.#group.kind !== "idle") return;
    this.#isFinishing = true;
    this.#ask();
  }

  #ask(): void {
    const { kind, host } = this.#group;
    const { bytes, seconds } = this.#options;
    const file = `GET /bytes/${bytes}/within/${seconds}`;
    const what = { download: file, upload: "PUT /up", idle: "GET /idle" }[kind];
    const length = kind === "upload" ? `content-length: ${bytes}\r\n` : "";
    this.#head = "";
    this.#socket.write(`${what} HTTP/1.1\r\nhost: ${host}\r\n${length}\r\n`);
  }

  #take(bytes: Buffer): void {
    let body = bytes;
    if (this.#bodyLen === 0) {
      this.#head += bytes.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const status = /^HTTP\/1\.1 (\d+)/.exec(this.#head)?.[1];
      if (status !== "200") return this.#end(`status ${status}`);
      this.#bodyLen = Number(/^content-length: (\d+)$/im.exec(this.#head)?.[1]);
      body = Buffer.from(this.#head.slice(end + 4), "latin1");
      this.#head = "";
    }
    if (this.#group.kind === "download") this.#takeDownload(body);
    else this.#takeAnswer(body);
  }

  #takeDownload(body: Buffer): void {
    this.#hash.update(body);
    this.#moved += body.length;
    if (this.#moved >= this.#options.bytes / 8) this.#steady();
    if (this.#moved < this.#bodyLen) return;
    const isRight = this.#moved === this.#bodyLen && this.#hash.digest("hex") === this.#expected;
    this.#end(isRight ? "done" : "wrong bytes");
  }

  #takeAnswer(body: Buffer): void {
    this.#head += body.toString("latin1");
    if (this.#head.length < this.#bodyLen) return;
    const { sha256 } = JSON.parse(this.#head) as { sha256?: string };
    this.#bodyLen = 0;
    this.#answers += 1;
    if (this.#group.kind === "upload") {
      this.#end(sha256 === this.#expected ? "done" : "wrong bytes");
    } else if (this.#isFinishing) this.#end("done");
    else this.#steady();
  }

  #steady(): void {
    if (this.#isSteady) return;
    this.#isSteady = true;
    this.#tell("steady", "");
  }

  #end(how: string): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#tell("end", how);
    if (how === "done") this.#socket.end();
    else this.#socket.destroy();
  }

  #tell(event: TransferEvent["event"], how: string): void {
    const { kind, host } = this.#group;
    const { localAddress = "", localPort = 0 } = this.#socket;
    const client = `${localAddress}:${localPort}`;
    const said: TransferEvent = {
      ...{ id: this.#id, kind, host, event, how, client },
      ...{ atMs: Date.now(), bytes: this.#moved },
    };
    process.stdout.write(JSON.stringify(said) + "\n");
  }
}

let digest: { readonly bytes: number; readonly hex: string } | undefined;

function digestOf(bytes: number): string {
  if (digest?.bytes === bytes) return digest.hex;
  const hash = createHash("sha256");
  for (const chunk of patternChunks(bytes)) hash.update(chunk);
  digest = { bytes, hex: hash.digest("hex") };
  return digest.hex;
}
