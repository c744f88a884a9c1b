/**
 * The worker processes of a node: starts them, starts one again that died, passes keys and orders on, adds up what they
 * say. Knows processes and the words of talk.ts; must not know devices, nor what a worker does. docs/queues.md
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { KeyFile } from "../config/key.ts";
import type { ControlAnswer, ControlRequest } from "../control/protocol.ts";
import { BatonError } from "../errors.ts";
import type { Log } from "../node/environment.ts";
import type { CounterGroups } from "../observe/counters.ts";
import { combineAnswers } from "./sum.ts";
import type { FromWorker, ToWorker, WorkerTask } from "./talk.ts";

/** A worker that dies once more within this time takes the node down. */
const DEATHS_MAX = 3;
const DEATHS_WITHIN_MS = 60_000;
/** The descriptor of its queue in a worker: behind the three standard ones and the channel. */
const QUEUE_FD = 4;
const ENTRY = `./queueworker${/\.[jt]s$/.exec(import.meta.url)?.[0] ?? ".js"}`;

export interface TeamOptions {
  readonly tasks: readonly WorkerTask[];
  /** The queue of each. */
  readonly fds: readonly number[];
  readonly keyFile: KeyFile;
  readonly log: Log;
}

interface Worker {
  readonly task: WorkerTask;
  readonly fd: number;
  child: ChildProcess;
  isReady: boolean;
  counters: CounterGroups | undefined;
  /** What it said of its end. */
  failure: BatonError | undefined;
}

interface FollowedOrder {
  readonly request: ControlRequest;
  readonly answers: (ControlAnswer | undefined)[];
  readonly tell: (answer: ControlAnswer) => void;
  last: string;
}

export class Team {
  /** Rejects when a worker cannot be kept alive. */
  readonly failed: Promise<never>;
  /** Resolves when all have been ready once; rejects when one could not be. */
  readonly ready: Promise<void>;
  readonly counters = { died: 0 };
  readonly #workers: Worker[];
  readonly #log: Log;
  readonly #orders = new Map<number, FollowedOrder>();
  #keyFile: KeyFile;
  #nextOrder = 1;
  #deathsMs: number[] = [];
  #isStopping = false;
  #isStarted = false;
  #fail: (error: Error) => void = () => undefined;
  #started: () => void = () => undefined;
  #ended: () => void = () => undefined;

  constructor({ tasks, fds, keyFile, log }: TeamOptions) {
    this.#log = log;
    this.#keyFile = keyFile;
    this.failed = new Promise((_resolve, reject) => (this.#fail = reject));
    this.failed.catch(() => undefined); // Whoever runs the node awaits it; nobody else must.
    const started = new Promise<void>((resolve) => (this.#started = resolve));
    this.ready = Promise.race([started, this.failed]);
    this.#workers = tasks.map((task, index) => {
      const fd = fds[index] as number;
      const fresh = { isReady: false, counters: undefined, failure: undefined };
      return { task, fd, child: this.#spawn(task, fd), ...fresh };
    });
  }

  setKeys(keyFile: KeyFile): void {
    this.#keyFile = keyFile;
    for (const worker of this.#workers) this.#send(worker, { kind: "keys", keyFile });
  }

  /** To all of them; every change of what they say together is told until the returned function is called. */
  order(request: ControlRequest, tell: (answer: ControlAnswer) => void): () => void {
    const id = this.#nextOrder++;
    const answers = this.#workers.map(() => undefined);
    this.#orders.set(id, { request, answers, tell, last: "" });
    for (const worker of this.#workers) this.#send(worker, { kind: "order", id, request });
    return () => {
      this.#orders.delete(id);
      for (const worker of this.#workers) this.#send(worker, { kind: "endOrder", id });
    };
  }

  /** Asks all to leave; resolves with the counters of each, by name, when they have ended. */
  async stop(): Promise<ReadonlyMap<string, CounterGroups>> {
    this.#isStopping = true;
    const ended = new Promise<void>((resolve) => (this.#ended = resolve));
    for (const worker of this.#workers) this.#send(worker, { kind: "stop" });
    if (this.#workers.some(({ child }) => isAlive(child))) await ended;
    return new Map(this.#workers.map(({ task, counters }) => [task.config.name, counters ?? {}]));
  }

  /** Ends what is left of them at once. */
  close(): void {
    this.#isStopping = true;
    for (const { child } of this.#workers) if (isAlive(child)) child.kill("SIGKILL");
  }

  #spawn(task: WorkerTask, fd: number): ChildProcess {
    const child = fork(fileURLToPath(new URL(ENTRY, import.meta.url)), [task.config.name], {
      stdio: ["ignore", "inherit", "inherit", "ipc", fd],
      serialization: "advanced",
    });
    child.on("message", (message) => this.#take(child, message as FromWorker));
    let isOver = false;
    const over = (how: string): void => {
      if (isOver) return;
      isOver = true;
      this.#over(child, how);
    };
    child.once("error", (error) => over(error.message));
    child.once("exit", (status, signal) => over(signal ?? `exit status ${status}`));
    child.send({ kind: "begin", ...task, fd: QUEUE_FD, keyFile: this.#keyFile }, noted);
    return child;
  }

  #take(child: ChildProcess, message: FromWorker): void {
    const index = this.#workers.findIndex((worker) => worker.child === child);
    const worker = this.#workers[index];
    if (!worker) return;
    if (message.kind === "ready") this.#isUp(worker);
    else if (message.kind === "counters") worker.counters = message.counters;
    else if (message.kind === "failed") {
      worker.failure = new BatonError(message.code, message.message);
    } else this.#answered(message.id, index, message.answer);
  }

  #isUp(worker: Worker): void {
    worker.isReady = true;
    for (const [id, { request }] of this.#orders)
      this.#send(worker, { kind: "order", id, request });
    if (this.#isStarted || this.#workers.some(({ isReady }) => !isReady)) return;
    this.#isStarted = true;
    this.#started();
  }

  #answered(id: number, index: number, answer: ControlAnswer): void {
    const order = this.#orders.get(id);
    if (!order) return;
    order.answers[index] = answer;
    const together = combineAnswers(order.answers);
    const text = JSON.stringify(together);
    if (!together || text === order.last) return;
    order.last = text;
    order.tell(together);
  }

  #over(child: ChildProcess, how: string): void {
    const worker = this.#workers.find((each) => each.child === child);
    if (this.#isStopping) {
      if (!this.#workers.some((each) => isAlive(each.child))) this.#ended();
      return;
    }
    if (!worker) return;
    const { task, failure } = worker;
    const what = `worker ${task.config.name}: expected it to run, got ${failure?.message ?? how}`;
    if (!this.#isStarted) return this.#fail(failure ?? new BatonError("ERR_BATON_WORKER", what));
    this.counters.died += 1;
    const nowMs = performance.now();
    this.#deathsMs = [...this.#deathsMs.filter((at) => nowMs - at < DEATHS_WITHIN_MS), nowMs];
    if (this.#deathsMs.length > DEATHS_MAX) {
      return this.#fail(new BatonError("ERR_BATON_WORKER", `${what}, once too often`));
    }
    this.#log.write("error", `${what}: it is started again`);
    worker.isReady = false;
    worker.failure = undefined;
    for (const { answers } of this.#orders.values()) {
      answers[this.#workers.indexOf(worker)] = undefined;
    }
    worker.child = this.#spawn(task, worker.fd);
  }

  /** One that is not ready hears of it when it is: keys with its task, orders afterwards. */
  #send(worker: Worker, message: ToWorker): void {
    const isLater = message.kind !== "stop" && message.kind !== "keys";
    if (worker.child.connected && (worker.isReady || !isLater)) worker.child.send(message, noted);
  }
}

/** A message to a worker that has ended meanwhile: its end is reported by itself. */
function noted(): void {}

function isAlive({ exitCode, signalCode, pid }: ChildProcess): boolean {
  return pid !== undefined && exitCode === null && signalCode === null;
}
