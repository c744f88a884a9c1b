/**
 * Kept-alive HTTP connections under load for the lab: each asks again and again until "stop" is said.
 *
 *   input   one JSON line of LoadOptions, later a line "stop"
 *   output  {"event":"steady"} when every connection was answered once, at the end one LoadResult
 */
import { Agent, request } from "node:http";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LabNode } from "../../host/lab/lab.ts";

export interface LoadOptions {
  readonly address: string;
  readonly port: number;
  readonly host: string;
  readonly connections: number;
  /** Between an answer and the next request. */
  readonly thinkMs: number;
}

export interface LoadResult {
  readonly event: "end";
  readonly requests: number;
  readonly failures: readonly string[];
  readonly failed: number;
  readonly resets: number;
  /** Connections that were opened: as many as were asked for, when none was lost. */
  readonly connects: number;
  /** Answers by backend in the last round. */
  readonly backends: Readonly<Record<string, number>>;
  readonly slowestMs: number;
}

export interface Load {
  /** Every connection has been answered. */
  readonly steady: Promise<void>;
  stop(): Promise<LoadResult>;
}

const SELF = fileURLToPath(import.meta.url);
const FAILURES_SHOWN = 10;

export function startLoad(node: LabNode, options: LoadOptions): Load {
  const child = node.exec(process.execPath, ["--enable-source-maps", SELF, "run"], {
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
  });
  child.stdin?.write(JSON.stringify(options) + "\n");
  let settle: { steady: () => void; end: (result: LoadResult) => void; fail: (e: Error) => void };
  const end = new Promise<LoadResult>((resolve, reject) => {
    settle = { steady: () => undefined, end: resolve, fail: reject };
  });
  end.catch(() => undefined); // Whoever stops it awaits it.
  const steady = new Promise<void>((resolve, reject) => {
    settle.steady = resolve;
    end.catch(reject);
  });
  if (child.stdout) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as { event: string };
      if (said.event === "steady") settle.steady();
      else settle.end(said as LoadResult);
    });
  }
  child.once("close", (status) => settle.fail(new Error(`labload: ended with ${status}`)));
  return {
    steady,
    stop: () => {
      child.stdin?.end("stop\n");
      return end;
    },
  };
}

class Asker {
  requests = 0;
  connects = 0;
  backend = "";
  slowestMs = 0;
  readonly failures: string[] = [];
  readonly #options: LoadOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1, keepAliveMsecs: 60_000 });

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  async run(isOver: () => boolean, answered: () => void): Promise<void> {
    // The last request comes after the end was called: it says who has the connection then.
    for (let isLast = false; !isLast;) {
      isLast = isOver();
      const startMs = performance.now();
      try {
        await this.#ask();
        this.requests += 1;
      } catch (error) {
        this.failures.push(String((error as NodeJS.ErrnoException).code ?? error));
      }
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
      if (this.requests === 1) answered();
      if (!isLast) await wait(this.#options.thinkMs * (0.5 + Math.random()));
    }
    this.#agent.destroy();
  }

  #ask(): Promise<void> {
    const { address, port, host } = this.#options;
    const path = `/${this.requests}`;
    const headers = { host };
    return new Promise((resolve, reject) => {
      const asked = request(
        { host: address, port, path, headers, agent: this.#agent },
        (answer) => {
          let text = "";
          answer.setEncoding("utf8");
          answer.on("data", (chunk: string) => (text += chunk));
          answer.on("error", reject);
          answer.on("end", () => {
            this.backend = String(answer.headers["x-backend"]);
            const isRight = answer.statusCode === 200 && text.includes(`"${path}"`);
            if (isRight) resolve();
            else reject(new Error(`status ${answer.statusCode}: ${text.slice(0, 80)}`));
          });
        },
      );
      asked.on("socket", (socket: Socket) => {
        if (socket.connecting) socket.once("connect", () => (this.connects += 1));
      });
      asked.on("error", reject);
      asked.end();
    });
  }
}

async function run(options: LoadOptions, stop: Promise<unknown>): Promise<void> {
  const askers = Array.from({ length: options.connections }, () => new Asker(options));
  let isOver = false;
  let answered = 0;
  const onAnswer = (): void => {
    answered += 1;
    if (answered === askers.length) process.stdout.write('{"event":"steady"}\n');
  };
  const all = askers.map((asker) => asker.run(() => isOver, onAnswer));
  await stop;
  isOver = true;
  await Promise.all(all);
  const sum = (pick: (asker: Asker) => number): number =>
    askers.reduce((total, asker) => total + pick(asker), 0);
  const failures = askers.flatMap((asker) => asker.failures);
  const backends: Record<string, number> = {};
  for (const { backend } of askers) backends[backend] = (backends[backend] ?? 0) + 1;
  const result: LoadResult = {
    event: "end",
    requests: sum(({ requests }) => requests),
    failures: failures.slice(0, FAILURES_SHOWN),
    failed: failures.length,
    resets: failures.filter((code) => code === "ECONNRESET" || code === "EPIPE").length,
    connects: sum(({ connects }) => connects),
    backends,
    slowestMs: Math.max(...askers.map(({ slowestMs }) => slowestMs)),
  };
  process.stdout.write(JSON.stringify(result) + "\n", () => process.exit(0));
}

if (process.argv[2] === "run") {
  const lines = createInterface({ input: process.stdin });
  const stopped = new Promise<void>((resolve) => lines.once("close", resolve));
  lines.once("line", (line) => void run(JSON.parse(line) as LoadOptions, stopped));
}
