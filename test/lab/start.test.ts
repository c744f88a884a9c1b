/** `baton lab` as a user types it: the processes, their output, their end. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { controlPath } from "../../host/config/flags.ts";
import { labOrSkip, marked, until } from "../support/lab.ts";

const MAIN = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
/** Only ends what hangs. */
const GONE_LIMIT_MS = 30_000;
const start = suite("lab start");

interface Run {
  readonly child: ChildProcess;
  readonly marker: string;
  readonly env: NodeJS.ProcessEnv;
  readonly ended: Promise<number | string>;
  output(): string;
  errors(): string;
}

/** Runs `body` with a command, and a state folder of its own; nothing of either may be left. */
async function withCommand(args: string[], body: (run: Run) => Promise<void>): Promise<void> {
  const probe = await labOrSkip(args.join(" "), { backends: 0, needTun: true });
  if (probe === undefined) return;
  await probe.close();
  const folder = mkdtempSync(join(tmpdir(), `baton-${process.pid}-`));
  const mark = randomUUID();
  const env = { ...process.env, XDG_RUNTIME_DIR: folder, BATON_TEST_MARK: mark };
  const child = spawn(process.execPath, [MAIN, "lab", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env,
  });
  let output = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const ended = new Promise<number | string>((resolve) => {
    child.once("close", (status, signal) => resolve(status ?? signal ?? ""));
  });
  const marker = `BATON_TEST_MARK=${mark}`;
  try {
    await body({ child, marker, env, ended, output: () => output, errors: () => errors });
    await until("every process ends", GONE_LIMIT_MS, () => marked(marker).length === 0);
  } finally {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
}

/** The control socket that a forwarder of ours has made; undefined where it may not, or is gone. */
function controlSocket(): number | undefined {
  const found = statSync(controlPath("forwarder"), { throwIfNoEntry: false });
  return found?.uid === process.getuid?.() ? found?.ino : undefined;
}

start("--json prints one object and nothing else, and ends with status 0", async () => {
  await withCommand(["demo", "--json", "--size", "1M"], async ({ ended, output, errors }) => {
    assert.is(await ended, 0, output() + errors());
    assert.is(output().trim().split("\n").length, 1);
    assert.is((JSON.parse(output()) as { ok: boolean }).ok, true);
    assert.is(errors(), "");
  });
});

start("--keep leaves the lab up: the lines it prints work, then Ctrl-C ends it all", async () => {
  await withCommand(
    ["demo", "--keep", "--size", "1M"],
    async ({ child, env, ended, output, errors }) => {
      await until(`the lab stands ${errors()}`, 30_000, () =>
        /https:\/\//.test(output().split("try,")[1] ?? ""),
      );
      const lines = (output().split("try, from another terminal:\n")[1] ?? "").trim().split("\n");
      assert.is(lines.length, 3);
      const answers = lines.map((line) => {
        const { status, stdout, stderr } = spawnSync("sh", ["-c", line], { env, encoding: "utf8" });
        assert.is(status, 0, `${line}: ${stderr}`);
        return (JSON.parse(stdout) as { backend: string }).backend;
      });
      assert.equal(answers, ["b1", "b2", "b2"]);
      const socket = controlSocket();
      child.kill("SIGINT");
      assert.is(await ended, 0);
      if (socket !== undefined) assert.is.not(controlSocket(), socket, "its socket is gone, too");
    },
  );
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  start(`${signal} in the middle ends everything, with one line and status 1`, async () => {
    await withCommand(["demo"], async ({ child, ended, output, errors }) => {
      await until("the first visit is made", 30_000, () => output().includes("by Host"));
      child.kill(signal);
      assert.is(await ended, 1);
      assert.is(errors(), `baton: demo: stopped by ${signal}\n`);
    });
  });
}

start("SIGKILL in the middle leaves no process", async () => {
  await withCommand(["demo"], async ({ child, ended, output, marker }) => {
    await until("the first visit is made", 30_000, () => output().includes("by Host"));
    // Command, unshare, supervisor; two servers and three daemons with an nsenter each; more.
    assert.ok(marked(marker).length >= 13);
    child.kill("SIGKILL");
    assert.is(await ended, "SIGKILL");
  });
});

start("flags that cannot be are one line and status 2", () => {
  for (const [args, pattern] of [
    [
      ["demo", "--loss", "200%"],
      /^baton: --loss: expected a percentage from 0 to 100, as 2%, got "200%"$/m,
    ],
    [["demo", "--size", "-1"], /--size: expected a whole number from 1 to/],
    [["up", "--backends", "1000"], /a whole number from 0 to 100, got "1000"/],
    [["up", "--name", "../x"], /lab name: expected letters and digits/],
    [["exec", "client"], /missing required argument/],
    [["fly"], /unknown command 'fly'/],
  ] as const) {
    const { status, stderr, stdout } = spawnSync(process.execPath, [MAIN, "lab", ...args], {
      encoding: "utf8",
    });
    assert.is(status, 2, args.join(" ") + stdout + stderr);
    assert.match(stderr, pattern);
    assert.is(stderr.trim().split("\n").length, 1);
  }
});

start.run();
