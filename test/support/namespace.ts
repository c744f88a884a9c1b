/**
 * Network namespaces for tests, none of which has a name: they end with the processes that hold them,
 * whatever ends those. A test file runs itself again inside a namespace of its own, so that nothing it
 * does to devices, routes or settings can reach the machine's.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const INSIDE = "BATON_TEST_NAMESPACE";

type Body = () => void | Promise<void>;
type Register = (name: string, body: Body) => void;

/**
 * Outside: runs the file `url` in a fresh namespace and exits with its status; never returns. Inside:
 * returns `register`. Where the system has no namespaces or TUN devices: returns a function that
 * registers tests which print `SKIP name: reason`.
 */
export async function privileged(url: string, register: Register): Promise<Register> {
  if (process.env[INSIDE]) {
    // The outer process holds the other end: without it, nobody waits for us any more.
    process.stdin.on("end", () => process.exit(1)).resume();
    (process.stdin as unknown as { unref(): void }).unref();
    ip("link set lo up");
    return register;
  }
  const unshare = unshareArgs();
  const probe = spawnSync("unshare", [...unshare, "sh", "-c", PROBE], { encoding: "utf8" });
  if (probe.status !== 0) {
    const reason = (probe.error?.message ?? probe.stderr).trim().split("\n")[0];
    return (name) => register(name, () => void process.stdout.write(`SKIP ${name}: ${reason}\n`));
  }
  const args = [...unshare, process.execPath, ...process.execArgv, fileURLToPath(url)];
  const child = spawn("unshare", args, {
    stdio: ["pipe", "inherit", "inherit"],
    env: { ...process.env, [INSIDE]: "1" },
  });
  const [status] = (await once(child, "exit")) as [number | null];
  process.exit(status ?? 1);
}

const PROBE = "ip tuntap add dev batonprobe mode tun && ip link add batonveth type veth";

function unshareArgs(): string[] {
  return process.getuid?.() === 0 ? ["--net"] : ["--user", "--map-root-user", "--net"];
}

/** Runs `ip` in this namespace with the words of each line; fails loudly. */
export function ip(...lines: string[]): void {
  const result = spawnSync("ip", ["-batch", "-"], { input: lines.join("\n"), encoding: "utf8" });
  if (result.status !== 0) throw new Error(`ip ${lines.join("; ")}: ${result.stderr}`);
}

/** Another namespace, connected to this one by a veth pair `here`/`there`. */
export class Peer {
  readonly pid: number;
  #holder: ChildProcess;
  #children: ChildProcess[] = [];

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.pid = holder.pid!;
  }

  static async open(here: string, there: string): Promise<Peer> {
    // It lives until its input ends: until this process closes it or is no more.
    const holder = spawn("unshare", ["--net", "sh", "-c", "echo ready; exec cat"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const peer = new Peer(holder);
    ip(`link add ${here} type veth peer name ${there} netns ${peer.pid}`, `link set ${here} up`);
    peer.ip("link set lo up", `link set ${there} up`);
    return peer;
  }

  /** Runs a program in the peer and returns what it printed. */
  run(command: string, args: readonly string[], input = ""): string {
    const result = spawnSync("nsenter", [`--net=/proc/${this.pid}/ns/net`, command, ...args], {
      input,
      encoding: "utf8",
    });
    if (result.status === 0) return result.stdout;
    throw new Error(
      `peer: ${command} ${args.join(" ")}: ${result.stderr || result.error?.message}`,
    );
  }

  ip(...lines: string[]): void {
    this.run("ip", ["-batch", "-"], lines.join("\n"));
  }

  /** Starts an ES module in the peer; lines it prints come back one by one. */
  start(script: string): { line(): Promise<string> } {
    const args = [`--net=/proc/${this.pid}/ns/net`, process.execPath, "--input-type=module"];
    const child = spawn("nsenter", [...args, "-e", ORPHAN_GUARD + script], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#children.push(child);
    const lines: string[] = [];
    let partial = "";
    let wake = () => {};
    child.stdout.on("data", (chunk: Buffer) => {
      const parts = (partial + chunk.toString()).split("\n");
      partial = parts.pop() ?? "";
      lines.push(...parts);
      wake();
    });
    child.on("exit", () => wake());
    return {
      line: async () => {
        let late = false;
        const timer = setTimeout(() => ((late = true), wake()), LINE_MS_MAX);
        while (lines.length === 0) {
          if (child.exitCode !== null) throw new Error(`peer script ended: ${child.exitCode}`);
          if (late) throw new Error(`expected a line of the peer within ${LINE_MS_MAX} ms`);
          await new Promise<void>((resolve) => (wake = resolve));
        }
        clearTimeout(timer);
        return lines.shift()!;
      },
    };
  }

  close(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    this.#holder.kill("SIGKILL");
  }
}

/** Only end what hangs, also on a machine that is slow and shared. */
const LINE_MS_MAX = 60_000;
const UNTIL_MS_MAX = 60_000;
const ORPHAN_GUARD = `process.stdin.on("end", () => process.exit(1)).resume(); process.stdin.unref();\n`;

/** Resolves when `condition` holds; fails after `ms` with `what`. */
export async function until(
  what: string,
  condition: () => boolean,
  ms = UNTIL_MS_MAX,
): Promise<void> {
  const deadline = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`expected ${what} within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
