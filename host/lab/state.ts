/**
 * The state file by which `baton lab exec` and `down` find a lab that another process holds. Knows files
 * and process identities; must not know what a lab is made of.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { BatonError } from "../errors.ts";
import type { LabAddress } from "./lab.ts";

export interface LabState {
  readonly address: LabAddress;
  /** The process that holds the lab, and when it started: a pid alone may be somebody else's by now. */
  readonly holder: number;
  readonly holderStart: string;
}

/** XDG_RUNTIME_DIR, or /run for root, or a folder of the user's own. */
export function statePath(name = "default"): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/.test(name)) {
    throw new BatonError(
      "ERR_BATON_CONFIG",
      `lab name: expected letters and digits, got "${name}"`,
    );
  }
  const uid = process.getuid?.() ?? 0;
  const runtime = process.env["XDG_RUNTIME_DIR"];
  const base = runtime ?? (uid === 0 ? "/run" : join(tmpdir(), `baton-${uid}`));
  return join(base, `baton-lab-${name}.json`);
}

/** Of this process as the holder. Atomic: a reader sees a whole file or none. */
export function writeState(name: string | undefined, address: LabAddress): void {
  const path = statePath(name);
  const state: LabState = {
    address,
    holder: process.pid,
    holderStart: startOf(process.pid) ?? "",
  };
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(state) + "\n", { mode: 0o600 });
  chmodSync(draft, 0o600);
  renameSync(draft, path);
}

/** Undefined when there is no lab; the file of a holder that has gone is removed. */
export function readState(name: string | undefined): LabState | undefined {
  const path = statePath(name);
  let state: LabState;
  try {
    state = JSON.parse(readFileSync(path, "utf8")) as LabState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new BatonError(
      "ERR_BATON_LAB",
      `${path}: expected the state of a lab, got ${String(error)}`,
    );
  }
  if (isHolding(state)) return state;
  removeState(name);
  return undefined;
}

export function isHolding({ holder, holderStart }: LabState): boolean {
  return startOf(holder) === holderStart;
}

export function removeState(name: string | undefined): void {
  rmSync(statePath(name), { force: true });
}

/** Clock ticks from boot to the process's start: proc_pid_stat(5), field 22. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
