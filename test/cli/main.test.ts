import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const cli = suite("command line");

const MAIN = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const FIXTURE = fileURLToPath(new URL("./fixture.js", import.meta.url));
const FORWARDER = [
  ...["forwarder", "--name", "f1", "--vip", "10.0.0.100:80", "--vip", "10.0.0.101:80"],
  ...["--tunnel", "10.2.0.1", "--backend", "b1=10.1.0.11,tunnel=10.2.0.11"],
];

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(script: string, args: readonly string[]) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
  return { child, ended };
}

function run(script: string, ...args: string[]): Promise<Ended> {
  return start(script, args).ended;
}

function backend(name: string, ...more: string[]): Promise<Ended> {
  const flags = ["--forwarder", "f1=10.1.0.1,tunnel=10.2.0.1", "--upstream", "127.0.0.1:80"];
  return run(FIXTURE, "backend", "--name", name, "--tunnel", "10.2.0.11", ...flags, ...more);
}

cli("prints the package's version", async () => {
  const path = new URL("../../../package.json", import.meta.url);
  const { version } = JSON.parse(readFileSync(path, "utf8")) as { version: string };
  assert.equal(await run(MAIN, "--version"), {
    ...{ status: 0, signal: null, stdout: `${version}\n`, stderr: "" },
  });
});

cli("prints help on stdout, with every flag of a command", async () => {
  const general = await run(FIXTURE, "--help");
  assert.is(general.status, 0);
  assert.match(general.stdout, "Usage: baton");
  assert.match(general.stdout, "forwarder");
  const { status, stdout, stderr } = await run(FIXTURE, "forwarder", "--help");
  assert.equal([status, stderr], [0, ""]);
  for (const flag of [
    "--vip <ADDRESS:PORT[,routing=request]>",
    "--route <RULE>",
    "--json",
    "--verbose",
    "--config",
  ]) {
    assert.match(stdout, flag);
  }
});

/** Row: arguments, the line on stderr. */
const FAULTS: readonly (readonly [readonly string[], string])[] = [
  [[], "baton: expected a command, got none; see baton --help"],
  [["nonsense"], "baton: unknown command 'nonsense'"],
  [["forwarde"], "baton: unknown command 'forwarde' (Did you mean forwarder?)"],
  [["--nonsense"], "baton: unknown option '--nonsense'"],
  [["forwarder", "--vpi", "x"], "baton: unknown option '--vpi' (Did you mean --vip?)"],
  [
    ["forwarder", "--vip"],
    "baton: option '--vip <ADDRESS:PORT[,routing=request]>' argument missing",
  ],
  [["forwarder", "--vip", "x"], 'baton: --vip: expected ADDRESS:PORT, got "x"'],
  [["forwarder"], "baton: --vip: expected ADDRESS:PORT at least once, got nothing"],
  [
    ["forwarder", "--name", "a", "--name", "b"],
    "baton: option '--name <NAME>' argument 'b' is invalid. It stands twice.",
  ],
  [
    [...FORWARDER, "more"],
    "baton: too many arguments for 'forwarder'. Expected 0 arguments but got 1.",
  ],
];

for (const [args, line] of FAULTS) {
  cli(`answers ${JSON.stringify(args.join(" "))} with one line and status 2`, async () => {
    const { status, stdout, stderr } = await run(FIXTURE, ...args);
    assert.is(stderr, `${line}\n`);
    assert.equal([status, stdout], [2, ""]);
  });
}

cli("hands a room its checked configuration, and a wish to stop, and ends with 0", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const { child, ended } = start(FIXTURE, [...FORWARDER, "--json"]);
    await once(child.stdout, "data");
    child.kill("SIGHUP"); // Keys are read again; a daemon that is not so far yet goes on too.
    child.kill(signal);
    const { status, stdout, stderr } = await ended;
    assert.equal([status, stderr], [0, ""]);
    const [config = "", stopped] = stdout.split("\n");
    const { services, json } = JSON.parse(config) as { services: unknown[]; json: boolean };
    assert.equal([services.length, json], [2, true]);
    assert.is(stopped, `stopped by ${signal}`);
  }
});

cli("ends at once on a second signal", async () => {
  const args = FORWARDER.map((word) => (word === "f1" ? "stubborn" : word));
  const { child, ended } = start(FIXTURE, args);
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  assert.is((await ended).status, 143);
});

cli("tells a failure in one line with status 1, whatever the room left open", async () => {
  const busy = await backend("busy");
  assert.equal([busy.status, busy.stderr], [1, "baton: address: expected it free, got b2\n"]);
});

cli("ends with 77 where a privilege or a facility is missing", async () => {
  const poor = await backend("poor");
  assert.equal([poor.status, poor.stderr], [77, "baton: tun baton0: operation not permitted\n"]);
  const labless = await backend("labless");
  assert.equal([labless.status, labless.stderr], [77, "baton: lab: no unshare\n"]);
});

cli("shows the stack only with --verbose", async () => {
  const broken = await backend("broken");
  const line = "baton: internal error: TypeError: x is not a function\n";
  assert.equal([broken.status, broken.stderr], [1, line]);
  const verbose = await backend("broken", "--verbose");
  assert.is(verbose.status, 1);
  assert.ok(verbose.stderr.startsWith(line));
  assert.match(verbose.stderr, /\n {4}at /);
});

cli("does not lose an error that nobody waits for", async () => {
  const late = await backend("late");
  assert.equal([late.status, late.stderr], [1, "baton: internal error: TypeError: nobody waits\n"]);
});

cli("writes a key that only its owner can read, and never replaces a file", async () => {
  const folder = mkdtempSync(join(tmpdir(), "baton-keygen-"));
  try {
    const path = join(folder, "cluster.key");
    const made = await run(MAIN, "keygen", path);
    assert.equal([made.status, made.stdout, made.stderr], [0, `wrote ${path}\n`, ""]);
    assert.is(statSync(path).mode & 0o777, 0o600);
    const key = readFileSync(path, "utf8");
    assert.match(key, /^[0-9a-f]{64}\nsecret [0-9a-f]{64}\n$/);
    const again = await run(MAIN, "keygen", path);
    assert.equal([again.status, again.stdout], [1, ""]);
    assert.is(again.stderr, `baton: ${path}: expected a new file, got EEXIST\n`);
    assert.is(readFileSync(path, "utf8"), key);
    const shown = await run(MAIN, "keygen", "-");
    assert.is(shown.status, 0);
    assert.match(shown.stdout, /^[0-9a-f]{64}\n$/);
    assert.is.not(shown.stdout, key);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

cli("goes on when nobody reads its output any more", async () => {
  const { child, ended } = start(FIXTURE, ["flood"]);
  await once(child.stdout, "data");
  child.stdout.destroy();
  const { status, signal, stderr } = await ended;
  assert.equal([status, signal, stderr], [0, null, ""]);
});

cli.run();
