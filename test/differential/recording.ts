/** What the kernel did, script by script, as it was recorded: test/fixtures/linux.json. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { release } from "node:os";

const FILE = new URL("../../../test/fixtures/linux.json", import.meta.url);

export interface Recording {
  /** "6.18": another version may do other things. */
  readonly kernel: string;
  readonly scripts: Readonly<Record<string, readonly string[]>>;
}

export function readRecording(): Recording {
  if (!existsSync(FILE)) return { kernel: "", scripts: {} };
  return JSON.parse(readFileSync(FILE, "utf8")) as Recording;
}

export function writeRecording(recording: Recording): void {
  writeFileSync(FILE, JSON.stringify(recording, null, 1) + "\n");
}

/** The running kernel's version, as a recording names it. */
export function kernelVersion(): string {
  return release().split(".").slice(0, 2).join(".");
}
