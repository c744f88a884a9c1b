/**
 * A crowd of kernel TCP clients in one process: all are connected before the first asks, and none ends
 * before all were answered. Each posts a random body of its own, compares every byte that comes back,
 * then asks once more over the same connection. Reads CrowdOptions as one JSON line from its standard
 * input, prints one CrowdResult.
 */
import { createCipheriv } from "node:crypto";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";

export interface CrowdOptions {
  readonly address: string;
  readonly port: number;
  /** One after the other, in turn. */
  readonly hosts: readonly string[];
  readonly connections: number;
  /** Bodies have 1 to so many bytes, small ones more often. */
  readonly bytesMax: number;
  readonly seed: number;
  readonly timeoutMs: number;
}

export interface CrowdResult {
  readonly connected: number;
  /** Most that were open at once. */
  readonly concurrent: number;
  /** Both requests were answered in full, and the connection ended in order. */
  readonly finished: number;
  readonly resets: number;
  readonly wrongBytes: number;
  readonly bytes: number;
  /** Name of the backend, connections that it answered. */
  readonly backends: Readonly<Record<string, number>>;
  /** Answers by another backend than the first of the same connection. */
  readonly strayed: number;
  /** What else went wrong, by the connection's own end. */
  readonly complaints: readonly string[];
  readonly ms: number;
}

const COMPLAINTS_MAX = 20;

interface Answer {
  readonly status: number;
  readonly backend: string;
  readonly body: Buffer;
}

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => {
  void run(JSON.parse(line) as CrowdOptions).then((result) => {
    process.stdout.write(JSON.stringify(result) + "\n", () => process.exit(0));
  });
});

async function run(options: CrowdOptions): Promise<CrowdResult> {
  const started = performance.now();
  const clients = Array.from({ length: options.connections }, (_, at) => new Client(options, at));
  const deadline = setTimeout(() => {
    for (const client of clients)
      client.fail(client.isBusy ? "took too long" : "waited for others");
  }, options.timeoutMs);
  await all(clients, (client) => client.connect());
  const concurrent = clients.filter((client) => client.isOpen).length;
  await all(clients, (client) => client.askEcho());
  await all(clients, (client) => client.askAgain());
  await all(clients, (client) => client.end());
  clearTimeout(deadline);
  const sum = (pick: (client: Client) => number): number =>
    clients.reduce((total, client) => total + pick(client), 0);
  const backends: Record<string, number> = {};
  for (const { backend } of clients) backends[backend] = (backends[backend] ?? 0) + 1;
  const complaints = clients.map((client) => client.complaint).filter((text) => text !== "");
  return {
    connected: sum(({ isConnected }) => Number(isConnected)),
    concurrent,
    finished: sum(({ isFinished }) => Number(isFinished)),
    resets: sum(({ isReset }) => Number(isReset)),
    wrongBytes: sum(({ wrongBytes }) => wrongBytes),
    bytes: sum(({ body }) => body.length),
    backends,
    strayed: sum(({ strayed }) => strayed),
    complaints: complaints.slice(0, COMPLAINTS_MAX),
    ms: performance.now() - started,
  };
}

/** A client that fails leaves the crowd; the others go on. */
async function all(clients: Client[], step: (client: Client) => Promise<void>): Promise<void> {
  const able = clients.filter((client) => client.complaint === "");
  await Promise.all(able.map((client) => step(client).catch((error) => client.fail(error))));
}

class Client {
  readonly body: Buffer;
  isConnected = false;
  isFinished = false;
  isReset = false;
  /** In the middle of a step. */
  isBusy = false;
  wrongBytes = 0;
  strayed = 0;
  backend = "";
  complaint = "";
  readonly #options: CrowdOptions;
  readonly #host: string;
  readonly #reader = new AnswerReader();
  #socket: Socket | undefined;
  #name = "";
  #isEnding = false;
  #settle: (error?: Error) => void = () => undefined;

  constructor(options: CrowdOptions, index: number) {
    this.#options = options;
    this.#host = options.hosts[index % options.hosts.length] ?? "";
    this.body = randomBody(options.seed, index, options.bytesMax);
  }

  get isOpen(): boolean {
    return this.isConnected && this.complaint === "";
  }

  connect(): Promise<void> {
    const { address: host, port } = this.#options;
    const socket = connect({ host, port, noDelay: true });
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#reader.push(chunk);
      if (this.#reader.isComplete) this.#settle();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.isReset ||= error.code === "ECONNRESET" || error.code === "EPIPE";
      this.#settle(error);
    });
    socket.on("close", () => this.#settle(this.#isEnding ? undefined : new Error("ended early")));
    return this.#wait(() => {
      socket.once("connect", () => {
        this.isConnected = true;
        this.#name = `${socket.localAddress} ${socket.localPort}`;
        this.#settle();
      });
    });
  }

  /** A body of its own there and back. */
  async askEcho(): Promise<void> {
    const { length } = this.body;
    const answer = await this.#ask(`POST /echo`, `content-length: ${length}\r\n`, this.body);
    this.backend = answer.backend;
    this.wrongBytes = differences(this.body, answer.body);
  }

  /** The connection is still good for a second request, and still with the same backend. */
  async askAgain(): Promise<void> {
    const { backend, body } = await this.#ask("GET /again", "", Buffer.alloc(0));
    if (backend !== this.backend) this.strayed += 1;
    const { path } = JSON.parse(body.toString()) as { path: string };
    if (path !== "/again") throw new Error(`asked for /again, got ${path}`);
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#wait(() => this.#socket?.end());
    this.isFinished = true;
  }

  fail(reason: unknown): void {
    if (this.isFinished || this.complaint !== "") return;
    this.complaint = `${this.#name || "not connected"}: ${String(reason)}`;
    this.#settle(new Error(this.complaint));
    this.#socket?.destroy();
  }

  async #ask(what: string, header: string, body: Buffer): Promise<Answer> {
    this.#reader.clear();
    await this.#wait(() => {
      const head = `${what} HTTP/1.1\r\nhost: ${this.#host}\r\n${header}\r\n`;
      this.#socket?.write(Buffer.concat([Buffer.from(head), body]));
    });
    const answer = this.#reader.answer;
    if (answer.status !== 200) throw new Error(`status ${answer.status}`);
    return answer;
  }

  #wait(start: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.isBusy = true;
      this.#settle = (error) => {
        this.isBusy = false;
        if (error === undefined) resolve();
        else reject(error);
      };
      start();
    });
  }
}

/** One response with a content-length at a time. */
class AnswerReader {
  #chunks: Buffer[] = [];
  #length = 0;
  #headLen = 0;
  #bodyLen = 0;
  #head = "";

  clear(): void {
    this.#chunks = [];
    this.#length = this.#headLen = this.#bodyLen = 0;
    this.#head = "";
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#headLen > 0) return;
    const text = Buffer.concat(this.#chunks).toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) return;
    this.#head = text.slice(0, end);
    this.#headLen = end + 4;
    this.#bodyLen = Number(/^content-length: (\d+)$/im.exec(this.#head)?.[1] ?? NaN);
  }

  get isComplete(): boolean {
    return this.#headLen > 0 && this.#length >= this.#headLen + this.#bodyLen;
  }

  get answer(): Answer {
    return {
      status: Number(/^HTTP\/1\.1 (\d+)/.exec(this.#head)?.[1]),
      backend: /^x-backend: (.*)$/im.exec(this.#head)?.[1] ?? "",
      body: Buffer.concat(this.#chunks).subarray(this.#headLen),
    };
  }
}

/** Bytes that differ, missing and surplus ones included. */
function differences(sent: Buffer, got: Buffer): number {
  if (sent.equals(got)) return 0;
  const length = Math.max(sent.length, got.length);
  let count = 0;
  for (let at = 0; at < length; at += 1) if (sent[at] !== got[at]) count += 1;
  return count;
}

/** The same for the same seed and index; lengths even on a logarithmic scale. */
function randomBody(seed: number, index: number, bytesMax: number): Buffer {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed, 0);
  key.writeUInt32LE(index, 4);
  const stream = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  const fraction = stream.update(Buffer.alloc(4)).readUInt32LE() / 2 ** 32;
  return stream.update(Buffer.alloc(Math.ceil(bytesMax ** fraction)));
}
