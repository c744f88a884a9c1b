/**
 * Baton's daemons as processes in a lab: one forwarder, a classifier on each classifier node (none: the
 * forwarder classifies), a backend on each backend node, the cluster key between them. Knows the
 * command line (docs/cli.md) and the JSON lines of `--json`; must not know how a node works inside.
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import type { Lab, LabNode } from "./lab.ts";
import type { NodePlan } from "./topology.ts";

const CLI = fileURLToPath(new URL("../cli/main.js", import.meta.url));
/** Both only end what hangs, also on a machine that is slow and shared. */
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;
const STDERR_MAX = 16_384;
const KEY_FD = 3;

/** One JSON line of a daemon: "ready", "connection", "counters", "log", ... */
export interface DaemonEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A `baton` process in a node. */
export class Daemon {
  readonly name: string;
  readonly child: ChildProcess;
  /** Everything it said on its standard output, in order. */
  readonly events: DaemonEvent[] = [];
  /** Settles when it says "ready"; rejects when it ends or takes too long. */
  readonly ready: Promise<void>;
  /** Settles when it has ended: exit status or signal. */
  readonly ended: Promise<string>;
  readonly #keyFd: number;
  #isOver = false;
  #stderr = "";
  #listeners = new Set<(event: DaemonEvent) => void>();

  /**
   * @param keys   the cluster keys as lines of a key file
   * @param script what to run with these arguments, when it is not `baton`
   */
  constructor(node: LabNode, args: readonly string[], keys: string, script = CLI) {
    this.name = node.name;
    this.#keyFd = unnamedFile(keys);
    try {
      const words = ["--enable-source-maps", script, ...args, "--json"];
      const stdio = ["ignore", "pipe", "pipe", this.#keyFd] as const;
      const keyFile = ["--key-file", `/proc/self/fd/${KEY_FD}`];
      this.child = node.exec(process.execPath, [...words, ...keyFile], {
        stdio: [...stdio],
        detached: true, // Ctrl-C is for the owner of the lab, which stops its daemons in order.
      });
    } catch (error) {
      closeSync(this.#keyFd);
      throw error;
    }
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_MAX);
    });
    this.ended = new Promise((resolve) => {
      this.child.once("error", (error) => resolve(error.message));
      this.child.once("close", (status, signal) => resolve(`${signal ?? `exit status ${status}`}`));
    });
    void this.ended.then(() => {
      this.#isOver = true;
      closeSync(this.#keyFd);
    });
    this.ready = this.#waitReady();
    this.ready.catch(() => undefined); // Whoever starts it awaits it.
    if (this.child.stdout) {
      createInterface({ input: this.child.stdout }).on("line", (line) => this.#take(line));
    }
  }

  /** Calls back with every event from now on; returns the way to stop that. */
  onEvent(listener: (event: DaemonEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Replaces its key file's lines and asks it to read them. */
  setKeys(keys: string): void {
    if (this.#isOver) return;
    ftruncateSync(this.#keyFd, 0);
    writeSync(this.#keyFd, keys, 0);
    this.child.kill("SIGHUP");
  }

  /** SIGINT, after which no backend drains, and SIGKILL when that takes too long; returns how it ended. */
  async stop(): Promise<string> {
    this.child.kill("SIGINT");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_LIMIT_MS);
    const end = await this.ended;
    clearTimeout(timer);
    return end;
  }

  #take(line: string): void {
    let event: DaemonEvent;
    try {
      event = JSON.parse(line) as DaemonEvent;
    } catch {
      event = { event: "text", line }; // Not ours to judge; the log shows it.
    }
    this.events.push(event);
    for (const listener of [...this.#listeners]) listener(event);
  }

  #waitReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      const stopListening = this.onEvent(({ event }) => {
        if (event === "ready") settle();
      });
      const timer = setTimeout(() => settle("it took too long"), READY_LIMIT_MS);
      const settle = (problem?: string): void => {
        clearTimeout(timer);
        stopListening();
        if (problem === undefined) resolve();
        else reject(daemonError(this.name, "expected it to be ready", problem, this.#stderr));
      };
      void this.ended.then((end) => settle(end));
    });
  }
}

export interface ClusterOptions {
  /** Service addresses; default ports 80 and 443 of the lab's two. */
  readonly services?: readonly string[];
  /** Of HTTP's default services. */
  readonly routing?: "connection" | "request";
  /** --route, in order. */
  readonly routes?: readonly string[];
  /** The server behind each backend, in its own namespace. */
  readonly upstream: string;
  /** Workers of the forwarder, of which backends are told; default 1, of which they are not. */
  readonly queues?: number;
  /** Further flags. */
  readonly forwarderFlags?: readonly string[];
  readonly backendFlags?: readonly string[];
  readonly classifierFlags?: readonly string[];
  /** By node, a backend or the forwarder: a script that takes the arguments of `baton` and runs in its place. */
  readonly scripts?: Readonly<Record<string, string>>;
}

export class Cluster {
  readonly lab: Lab;
  readonly #options: ClusterOptions;
  /** Lines of the key file of whatever is started from now on. */
  keys = newKey();
  forwarder: Daemon;
  readonly backends = new Map<string, Daemon>();
  readonly classifiers = new Map<string, Daemon>();

  constructor(lab: Lab, options: ClusterOptions) {
    this.lab = lab;
    this.#options = options;
    for (const { name } of lab.backends) this.startBackend(name);
    for (const { name } of lab.classifiers) this.startClassifier(name);
    this.forwarder = this.startForwarder();
  }

  /** Also after its end, as a restart with the same flags. */
  startForwarder(): Daemon {
    const { lab } = this;
    const { services = this.#services, routes = [], scripts = {} } = this.#options;
    const { forwarderFlags = [], queues } = this.#options;
    const node = lab.nodes.forwarder;
    const flags = [
      ...each("--vip", services),
      ...each("--tunnel", tunnelsOf(node.address)),
      ...each(
        "--backend",
        lab.backends.map((backend) => nodeFlag(backend.address)),
      ),
      ...each(
        "--classifier",
        lab.classifiers.map((classifier) => nodeFlag(classifier.address)),
      ),
      ...each("--route", routes),
      ...each("--queues", queues === undefined ? [] : [String(queues)]),
      ...forwarderFlags,
    ];
    const words = ["forwarder", "--name", node.name, ...flags];
    this.forwarder = new Daemon(node, words, this.keys, scripts[node.name]);
    return this.forwarder;
  }

  startClassifier(name: string): Daemon {
    const { lab } = this;
    const { services = this.#services, routes = [], classifierFlags = [] } = this.#options;
    const node = lab.node(name);
    const flags = [
      ...each("--vip", services),
      ...each("--tunnel", tunnelsOf(node.address)),
      ...each("--forwarder", [nodeFlag(lab.nodes.forwarder.address)]),
      ...each(
        "--backend",
        lab.backends.map((backend) => backend.name),
      ),
      ...each("--route", routes),
      ...classifierFlags,
    ];
    const daemon = new Daemon(node, ["classifier", "--name", name, ...flags], this.keys);
    this.classifiers.set(name, daemon);
    return daemon;
  }

  get #services(): string[] {
    const { service4, service6 } = this.lab.plan;
    const how = this.#options.routing === undefined ? "" : `,routing=${this.#options.routing}`;
    const http = [`${service4}:80${how}`, `[${service6}]:80${how}`];
    return [...http, `${service4}:443`, `[${service6}]:443`];
  }

  startBackend(name: string): Daemon {
    const node = this.lab.node(name);
    const { upstream, backendFlags = [], scripts = {}, queues } = this.#options;
    const forwarder = nodeFlag(this.lab.nodes.forwarder.address);
    const flags = [
      ...each("--tunnel", tunnelsOf(node.address)),
      ...each("--forwarder", [queues === undefined ? forwarder : `${forwarder},queues=${queues}`]),
      ...each("--upstream", [upstream]),
      ...backendFlags,
    ];
    const words = ["backend", "--name", name, ...flags];
    const daemon = new Daemon(node, words, this.keys, scripts[name]);
    this.backends.set(name, daemon);
    return daemon;
  }

  get daemons(): Daemon[] {
    return [this.forwarder, ...this.classifiers.values(), ...this.backends.values()];
  }

  /** Settles when every daemon is ready; rejects with the first that is not. */
  async ready(): Promise<void> {
    await Promise.all(this.daemons.map((daemon) => daemon.ready));
  }

  /** Stops all; the end of each that did not end with status 0. */
  async stop(): Promise<string[]> {
    const ends = await Promise.all(
      this.daemons.map(async (daemon) => [daemon.name, await daemon.stop()] as const),
    );
    return ends
      .filter(([, end]) => end !== "exit status 0")
      .map(([name, end]) => `${name}: ${end}`);
  }
}

/** A line of a key file. */
export function newKey(): string {
  return randomBytes(32).toString("hex") + "\n";
}

/** The first line of a daemon's complaint, without a stack. */
export function daemonError(
  name: string,
  expected: string,
  got: string,
  stderr: string,
): BatonError {
  const complaint = /^baton: (.*)$/m.exec(stderr)?.[1] ?? /^\w*Error: .*$/m.exec(stderr)?.[0];
  const why = complaint === undefined ? got : `${got}, ${complaint}`;
  return new BatonError("ERR_BATON_DAEMON", `daemon on ${name}: ${expected}, got ${why}`);
}

function tunnelsOf(node: NodePlan): string[] {
  return [node.tunnel4, node.tunnel6];
}

/** NAME=ADDRESS,tunnel=...: docs/cli.md, "Addresses". */
function nodeFlag(node: NodePlan): string {
  return [`${node.name}=${node.address4}`, ...tunnelsOf(node).map((to) => `tunnel=${to}`)].join();
}

function each(flag: string, values: readonly string[]): string[] {
  return values.flatMap((value) => [flag, value]);
}

/** A file of its owner only that has no name any more: nothing to leave behind, nothing to find. */
function unnamedFile(text: string): number {
  const path = join(tmpdir(), `baton-${process.pid}-${randomBytes(8).toString("hex")}`);
  const fd = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  writeSync(fd, text);
  return fd;
}
