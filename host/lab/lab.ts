/**
 * A lab: namespaces on one machine, wired as topology.ts says, and processes inside them. This is the
 * room's face for tests, the demo and the commands; must not know what runs on the nodes.
 */
import type { ChildProcess } from "node:child_process";
import { BatonError } from "../errors.ts";
import { programPath } from "../linux/programs.ts";
import { startCapture, type Capture, type CaptureOptions, type CapturedPacket } from "./capture.ts";
import { LabUnavailable, launch, type LaunchOptions } from "./launch.ts";
import { startMiddlebox, type Middlebox, type MiddleboxOptions } from "./middlebox.ts";
import { enter, type Door, type ExecOptions } from "./process.ts";
import { planLab, type NodePlan, type Plan, type PlanOptions } from "./topology.ts";

export { LabUnavailable } from "./launch.ts";
export type { ExecOptions } from "./process.ts";
export type { NodePlan, Plan } from "./topology.ts";

export interface LabOptions extends PlanOptions, LaunchOptions {
  /** Refuse to start where no TUN device can be opened. Default false. */
  readonly needTun?: boolean;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunOptions extends Omit<ExecOptions, "stdio" | "interactive"> {
  /** Written to the standard input, which is then closed. */
  readonly input?: string | Uint8Array;
  /** The process is killed after this time. */
  readonly timeoutMs?: number;
}

/** What is needed to enter a lab from another process: kept in the state file of `baton lab up`. */
export interface LabAddress {
  readonly plan: Plan;
  readonly pid: number;
  readonly userNamespace: boolean;
  readonly fds: Readonly<Record<string, number>>;
}

/** One namespace. The router has no addresses of its own plan; see its neighbours'. */
export class LabNode {
  readonly name: string;
  readonly plan: NodePlan | undefined;
  readonly #door: Door;

  constructor(name: string, plan: NodePlan | undefined, door: Door) {
    this.name = name;
    this.plan = plan;
    this.#door = door;
  }

  /** Addresses; throws for the router. */
  get address(): NodePlan {
    if (this.plan === undefined)
      throw new BatonError("ERR_BATON_LAB", `${this.name}: no addresses`);
    return this.plan;
  }

  /** Starts a process here; stdin is closed and output piped unless `options.stdio` says otherwise. */
  exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): ChildProcess {
    return enter(this.#door, command, args, options);
  }

  /** Runs a process here to its end; rejects only when it could not be started. */
  run(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<RunResult> {
    const { input, timeoutMs, ...rest } = options;
    const stdin = input === undefined ? "ignore" : "pipe";
    const child = this.exec(command, args, { ...rest, stdio: [stdin, "pipe", "pipe"] });
    return new Promise((resolve, reject) => {
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
      child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
      child.stdin?.on("error", () => undefined); // A process need not read its input.
      child.stdin?.end(input);
      const timer = timeoutMs && setTimeout(() => child.kill("SIGKILL"), timeoutMs);
      child.once("error", reject);
      child.once("close", (status, signal) => {
        clearTimeout(timer || undefined);
        const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString();
        resolve({ stdout: text(stdout), stderr: text(stderr), status, signal });
      });
    });
  }
}

/** A lab that this process owns or has joined. */
export class Lab {
  readonly plan: Plan;
  readonly nodes: Readonly<Record<string, LabNode>> & {
    readonly client: LabNode;
    readonly router: LabNode;
    readonly forwarder: LabNode;
  };
  readonly address: LabAddress;

  constructor(address: LabAddress) {
    this.address = address;
    this.plan = address.plan;
    const { pid, userNamespace } = address;
    const entries = Object.entries(address.fds).map(([name, fd]) => {
      const plan = this.plan.nodes.find((node) => node.name === name);
      return [
        name,
        new LabNode(name, plan, { pid, userNamespace, fd, path: programPath() }),
      ] as const;
    });
    this.nodes = Object.fromEntries(entries) as Lab["nodes"];
  }

  node(name: string): LabNode {
    const node = this.nodes[name];
    if (node !== undefined) return node;
    const names = Object.keys(this.nodes).join(", ");
    throw new BatonError("ERR_BATON_CONFIG", `lab node: expected one of ${names}, got "${name}"`);
  }

  /** Packet capture on a node; see capture.ts. */
  capture(
    node: string,
    sink: string | ((packet: CapturedPacket) => void),
    options?: CaptureOptions,
  ): Promise<Capture> {
    return startCapture(this.node(node), sink, options);
  }

  /** Makes the path between a node and the router bad; see middlebox.ts. */
  middlebox(node: string, options: MiddleboxOptions): Promise<Middlebox> {
    return startMiddlebox(this, this.node(node), options);
  }

  get backends(): LabNode[] {
    return this.#named(/^b\d+$/);
  }

  /** Nodes c1, c2, ... of `more`: where `baton classifier` runs. */
  get classifiers(): LabNode[] {
    return this.#named(/^c\d+$/);
  }

  #named(pattern: RegExp): LabNode[] {
    return Object.values(this.nodes).filter((node) => pattern.test(node.name));
  }
}

/** A lab of this process: ends with it, or by `close`. */
export class OwnLab extends Lab {
  readonly #supervisor: Awaited<ReturnType<typeof launch>>;

  constructor(plan: Plan, supervisor: Awaited<ReturnType<typeof launch>>) {
    const { pid, userNamespace, fds } = supervisor;
    super({ plan, pid, userNamespace, fds });
    this.#supervisor = supervisor;
  }

  /** Why no TUN device can be opened here; empty when one can. */
  get tunReason(): string {
    return this.#supervisor.tunReason;
  }

  /** Settles when the lab is gone; the text says why, empty after `close`. */
  get ended(): Promise<string> {
    return this.#supervisor.ended;
  }

  /** tx, tso, gso and gro on both ends of every link; throws when a device refuses. */
  async offload(on: boolean): Promise<void> {
    const refused = await this.#supervisor.request({ method: "offload", on });
    if (refused.length === 0) return;
    const what = `offloads ${on ? "on" : "off"}`;
    throw new BatonError("ERR_BATON_LAB", `${what}: refused by ${refused.join(", ")}`);
  }

  /** Ends every process in the lab and everything it made; returns when that is done. */
  close(): Promise<void> {
    return this.#supervisor.close();
  }
}

/** Throws LabUnavailable, with a reason fit to print, where this system cannot have one. */
export async function openLab(options: LabOptions = {}): Promise<OwnLab> {
  const plan = planLab(options);
  const supervisor = await launch(plan, options);
  if (options.needTun === true && supervisor.tunReason !== "") {
    await supervisor.close();
    throw new LabUnavailable(supervisor.tunReason);
  }
  return new OwnLab(plan, supervisor);
}

/** Enters a lab that another process holds. */
export function joinLab(address: LabAddress): Lab {
  return new Lab(address);
}
