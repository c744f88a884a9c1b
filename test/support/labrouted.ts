/**
 * Kept-alive HTTP connections for the lab whose requests go to different backends by turns. Every answer must come
 * from the backend that the rules name, with every byte.
 *
 *   input   one JSON line of RoutedOptions
 *   output  {"event":"half"} when half of all requests were answered, at the end one RoutedResult
 */
import { Agent, request } from "node:http";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LabNode } from "../../host/lab/lab.ts";
import { runAsScript, say } from "../../host/lab/script.ts";

export interface RoutedOptions {
  readonly address: string;
  readonly port: number;
  readonly connections: number;
  /** On each connection. */
  readonly requests: number;
  /** Where paths begin, and who answers them. */
  readonly paths: readonly (readonly [string, string])[];
  /** Every so many requests one with a body of `bytes`, which comes back; 0: none. */
  readonly bodyEvery: number;
  readonly bytes: number;
  readonly thinkMs: number;
  /** The client's kernel asks after so much silence whether the other side still is there; a minute without it. */
  readonly probeMs?: number;
  /** A request that was neither answered nor refused after so long has failed as "HUNG"; never without it. */
  readonly limitMs?: number;
}

export interface RoutedResult {
  readonly event: "end";
  readonly answered: number;
  readonly failures: readonly string[];
  /** Own ports of the connections that failed. */
  readonly failedPorts: readonly number[];
  /** Answers of another backend than the rules name. */
  readonly wrong: number;
  /** Connections that were opened. */
  readonly connects: number;
  /** Of requests without a body, the first of each connection left out: milliseconds until the whole answer. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const SELF = fileURLToPath(import.meta.url);

export interface RoutedLoad {
  readonly half: Promise<void>;
  readonly end: Promise<RoutedResult>;
}

export function startRouted(node: LabNode, options: RoutedOptions): RoutedLoad {
  const child = node.exec(process.execPath, ["--enable-source-maps", SELF], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin?.end(JSON.stringify(options) + "\n");
  let reached: () => void = () => undefined;
  const half = new Promise<void>((resolve) => (reached = resolve));
  const end = new Promise<RoutedResult>((resolve, reject) => {
    child.once("close", (status) => reject(new Error(`labrouted: ended with ${status}`)));
    if (!child.stdout) return;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as RoutedResult | { event: "half" };
      if (said.event === "half") reached();
      else resolve(said);
    });
  });
  end.catch(() => undefined); // Whoever started it awaits it.
  return { half, end };
}

class Client {
  readonly times: number[] = [];
  readonly failures: string[] = [];
  readonly failedPorts: number[] = [];
  answered = 0;
  wrong = 0;
  connects = 0;
  readonly #agent: Agent;
  readonly #probeMs: number;
  #port = 0;

  constructor(
    private readonly options: RoutedOptions,
    private readonly index: number,
    private readonly answeredOne: () => void,
  ) {
    this.#probeMs = options.probeMs ?? 60_000;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1, keepAliveMsecs: this.#probeMs });
  }

  async run(): Promise<void> {
    const { requests, thinkMs } = this.options;
    for (let count = 0; count < requests; count++) {
      try {
        await this.#ask(count);
        this.answered++;
      } catch (error) {
        this.failures.push(String((error as NodeJS.ErrnoException).code ?? error));
        this.failedPorts.push(this.#port);
      }
      this.answeredOne();
      if (thinkMs > 0) await wait(thinkMs * (0.5 + Math.random()));
    }
    this.#agent.destroy();
  }

  #ask(count: number): Promise<void> {
    const { address, port, paths, bodyEvery, bytes } = this.options;
    const [prefix, backend] = paths[(this.index + count) % paths.length] ?? ["/", ""];
    const path = `${prefix}${this.index}/${count}`;
    const hasBody = bodyEvery > 0 && count % bodyEvery === bodyEvery - 1;
    const body = hasBody ? Buffer.alloc(bytes, `${path} `) : undefined;
    const headers = { host: "a.example", "content-length": body?.length ?? 0 };
    const method = body ? "POST" : "GET";
    const started = performance.now();
    return new Promise((resolve, reject) => {
      const asked = request(
        { host: address, port, path, method, headers, agent: this.#agent },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("error", reject);
          answer.on("end", () => {
            const got = Buffer.concat(chunks);
            if (answer.headers["x-backend"] !== backend) this.wrong++;
            const isRight = body ? got.equals(body) : got.includes(`"${path}"`);
            if (answer.statusCode !== 200 || !isRight) {
              return reject(new Error(`${path}: ${answer.statusCode}, ${got.length} bytes`));
            }
            if (!body && count > 0) this.times.push(performance.now() - started);
            resolve();
          });
        },
      );
      const { limitMs } = this.options;
      const hung = (): void =>
        void asked.destroy(Object.assign(new Error("hung"), { code: "HUNG" }));
      const limit = limitMs === undefined ? undefined : setTimeout(hung, limitMs);
      asked.once("close", () => clearTimeout(limit));
      asked.on("socket", (socket: Socket) => {
        socket.setKeepAlive(true, this.#probeMs);
        const note = (): void => void (this.#port = socket.localPort ?? 0);
        if (!socket.connecting) return note();
        socket.once("connect", () => {
          this.connects++;
          note();
        });
      });
      asked.on("error", reject);
      asked.end(body);
    });
  }
}

async function run(options: RoutedOptions): Promise<void> {
  const { connections, requests } = options;
  let done = 0;
  const answeredOne = (): void => {
    if (++done === Math.floor((connections * requests) / 2)) say({ event: "half" });
  };
  const clients = Array.from(
    { length: connections },
    (_, at) => new Client(options, at, answeredOne),
  );
  await Promise.all(clients.map((client) => client.run()));
  const sum = (pick: (client: Client) => number): number =>
    clients.reduce((total, client) => total + pick(client), 0);
  const times = clients.flatMap((client) => client.times).sort((a, b) => a - b);
  const at = (part: number): number => times[Math.floor(part * (times.length - 1))] ?? 0;
  const result: RoutedResult = {
    event: "end",
    answered: sum(({ answered }) => answered),
    failures: clients.flatMap(({ failures }) => failures),
    failedPorts: clients.flatMap(({ failedPorts }) => failedPorts),
    wrong: sum(({ wrong }) => wrong),
    connects: sum(({ connects }) => connects),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
  };
  say(result);
}

runAsScript(import.meta.url, run);
