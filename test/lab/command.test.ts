/** `baton lab up`, `exec` and `down` as the command line calls them. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { labDown, labExec, labUp } from "../../host/lab/command.ts";
import { joinLab } from "../../host/lab/lab.ts";
import { readState, statePath } from "../../host/lab/state.ts";
import {
  firstLine,
  holdersOf,
  labOrSkip,
  namespaceOf,
  supportScript,
  until,
} from "../support/lab.ts";

const command = suite("lab command");
/** Only ends what hangs. */
const GONE_LIMIT_MS = 30_000;

/** Runs `body` with a state folder of its own, and takes a lab that it left down. */
async function withRuntime(name: string, body: () => Promise<void>): Promise<void> {
  const probe = await labOrSkip(name, { backends: 0 });
  if (probe === undefined) return;
  await probe.close();
  const folder = mkdtempSync(join(tmpdir(), `baton-${process.pid}-`));
  const before = process.env["XDG_RUNTIME_DIR"];
  process.env["XDG_RUNTIME_DIR"] = folder;
  try {
    await body();
  } finally {
    await labDown();
    rmSync(folder, { recursive: true });
    if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = before;
  }
}

command("up leaves a lab behind, exec runs in it, down takes it all away", async () => {
  await withRuntime("up, exec, down", async () => {
    let text = "";
    await labUp({ backends: 1 }, (more) => (text += more));
    assert.match(text, /forwarder +10\.1\.2\.2 +fd01:2::2\n/);
    assert.is(statSync(statePath()).mode & 0o777, 0o600);
    const state = readState(undefined);
    assert.ok(state);
    const namespaces = new Set([await namespaceOf(joinLab(state.address).node("b1"))]);
    assert.ok(holdersOf(namespaces).length > 0);
    const exec = (...args: string[]): Promise<number> =>
      labExec({ node: "b1", command: "sh", args: ["-c", ...args] });
    assert.is(await exec("ip -oneline address | grep -q 10.1.11.2/24"), 0);
    assert.is(await exec("exit 7"), 7);
    assert.is(await exec("kill -TERM $$"), 143);
    const again = await labUp({}, () => undefined).catch(String);
    assert.match(String(again), /lab: expected none to be up, got the one of .*; baton lab down/);
    assert.is(await labDown(), true);
    assert.not(existsSync(statePath()));
    await until("namespaces end", GONE_LIMIT_MS, () => holdersOf(namespaces).length === 0);
    assert.is(await labDown(), false);
  });
});

command("exec in no lab, or at a node that is none, is one clear line", async () => {
  await withRuntime("exec errors", async () => {
    const nowhere = await labExec({ node: "b1", command: "true", args: [] }).catch(String);
    assert.match(String(nowhere), /lab: expected one, got none/);
    await labUp({ backends: 0 }, () => undefined);
    const nobody = await labExec({ node: "b9", command: "true", args: [] }).catch(String);
    assert.match(String(nobody), /lab node: expected one of router, client, forwarder, got "b9"/);
  });
});

command("a lab with a bad path has it from the start", async () => {
  await withRuntime("up with delay", async () => {
    await labUp({ backends: 0, impair: [{ path: "client", delayMs: 30 }] }, () => undefined);
    const status = await labExec({
      node: "router",
      command: "sh",
      args: ["-c", "ip -o link | grep -q mbup1 && ip rule | grep -q 'iif client'"],
    });
    assert.is(status, 0);
  });
});

command("what the holder cannot do is told by up, and nothing stays", async () => {
  await withRuntime("up errors", async () => {
    for (const [options, pattern] of [
      [{ backends: 1000 }, /lab backends: expected 0 to 100, got 1000/],
      [{ impair: [{ path: "b7" }] }, /lab node: expected one of .*, got "b7"/],
      [
        { unshare: "/nonexistent/unshare" },
        /expected the program \/nonexistent\/unshare, got none/,
      ],
      [{ name: "../x" }, /lab name: expected letters and digits, got "\.\.\/x"/],
    ] as const) {
      const error = await labUp(options, () => undefined).catch(String);
      assert.match(String(error), pattern);
      assert.is(readState(undefined), undefined);
    }
  });
});

command("the file of a lab that was killed is not believed", async () => {
  await withRuntime("stale state", async () => {
    await labUp({ backends: 0 }, () => undefined);
    const text = readFileSync(statePath(), "utf8");
    const { holder } = JSON.parse(text) as { holder: number };
    process.kill(holder, "SIGKILL");
    await until("the holder ends", GONE_LIMIT_MS, () => readState(undefined) === undefined);
    assert.not(existsSync(statePath()));
    // A process with that pid that started at another time is not the holder.
    const other = { ...JSON.parse(text), holder: process.pid } as unknown;
    writeFileSync(statePath(), JSON.stringify(other));
    assert.is(await labDown(), false, "this very process would have been ended");
    writeFileSync(statePath(), "{");
    const torn = await labExec({ node: "client", command: "true", args: [] }).catch(String);
    assert.match(
      String(torn),
      /baton-lab-default\.json: expected the state of a lab, got SyntaxError/,
    );
    rmSync(statePath());
  });
});

command("Ctrl-C reaches the command and not the lab or nsenter", async () => {
  await withRuntime("interactive", async () => {
    await labUp({ backends: 0 }, () => undefined);
    // In a group of its own, as a terminal's foreground job is; the signal goes to the whole group.
    const job = spawn(process.execPath, [supportScript("labinteractive")], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const exit = new Promise<unknown>((resolve) => job.once("exit", (status) => resolve(status)));
    assert.is(await firstLine(job), "started");
    process.kill(-(job.pid ?? 0), "SIGINT");
    assert.is(await exit, 42, "the status that the command chose after its SIGINT");
    assert.ok(readState(undefined), "the lab lives on");
  });
});

command.run();
