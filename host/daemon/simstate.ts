/**
 * What is known about seeds: a file that several processes append to, so that a long run can be stopped, taken up
 * again and shared. Knows lines of JSON; must not know what a run does.
 *
 *   {"baton":"simulated seeds","version":1}                                       the first line
 *   {"code":"...","given":"...","seeds":[1,10],"pid":71,"atMs":...}                 somebody runs seeds 1 to 10
 *   {"code":"...","given":"...","seed":1,"packets":9,"cpuMs":5,"problems":[],...}   what came of one
 *
 * A claim only keeps two processes from the same work: where two take the same seed all the same, or a process dies
 * in the middle of a line, a seed is run once more. A line that is none of these is skipped and counted.
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { BatonError } from "../errors.ts";

export interface SeedResult {
  readonly seed: number;
  readonly packets: number;
  /** Processor time that it took. */
  readonly cpuMs: number;
  /** Empty: everything held. */
  readonly problems: readonly string[];
  /** Flags that make this very run again. */
  readonly again: string;
}

/** Which results count: those of the same code under the same options. */
export interface StateKey {
  /** Of `codeDigest`. */
  readonly code: string;
  /** What was given instead of being drawn, as text. */
  readonly given: string;
}

/** What others do meanwhile; the clock and the processes are the machine's. */
export interface Surroundings {
  readonly pid: number;
  nowMs(): number;
  isAlive(pid: number): boolean;
}

interface ClaimLine {
  readonly seeds: readonly [number, number];
  readonly pid: number;
  readonly atMs: number;
}

interface Claim {
  readonly first: number;
  readonly last: number;
  readonly pid: number;
  readonly atMs: number;
}

const MARK = "simulated seeds";
const VERSION = 1;
/** Seeds that a process takes at a time. */
const CLAIM_SEEDS = 10;
/** A process that has not finished its few seeds by then is gone, or its number is another's. */
const CLAIM_MS = 900_000;
const READ_BYTES = 1 << 20;

export class SimState {
  /** By seed. */
  readonly results = new Map<number, SeedResult>();
  /** The same code under other options. */
  readonly others = { seeds: 0, failed: 0 };
  /** Lines that are neither a claim nor a result: cut off, or of another hand. */
  unread = 0;
  readonly #file: number;
  readonly #key: StateKey;
  readonly #around: Surroundings;
  #claims: Claim[] = [];
  #at = 0;
  #rest = "";

  /** @throws BatonError when the file is something else */
  constructor(path: string, key: StateKey, around: Surroundings = MACHINE) {
    this.#key = key;
    this.#around = around;
    this.#file = openSync(path, "a+", 0o644);
    if (fstatSync(this.#file).size === 0) this.#append({ baton: MARK, version: VERSION });
    const head = Buffer.alloc(256);
    const [line = ""] = head.toString("utf8", 0, readSync(this.#file, head, 0, 256, 0)).split("\n");
    const { baton, version } = parse(line) as { baton?: string; version?: number };
    if (baton !== MARK || version !== VERSION) {
      closeSync(this.#file);
      const expected = `expected a file of ${MARK}, version ${VERSION}`;
      throw new BatonError("ERR_BATON_CONFIG", `${path}: ${expected}, got ${line.slice(0, 60)}`);
    }
    this.refresh();
  }

  close(): void {
    closeSync(this.#file);
  }

  /** Reads what all processes have written since. */
  refresh(): void {
    const bytes = Buffer.alloc(READ_BYTES);
    for (;;) {
      const count = readSync(this.#file, bytes, 0, READ_BYTES, this.#at);
      if (count === 0) return;
      this.#at += count;
      // Lines are ASCII but for messages of errors: a letter that is cut in two spoils no seed's number.
      const lines = (this.#rest + bytes.toString("utf8", 0, count)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#take(parse(line));
    }
  }

  /** Seeds of this range that nobody has run or is running, a few; none: everything is done or under way. */
  claim(first: number, count: number): number[] {
    this.refresh();
    const seeds: number[] = [];
    for (let seed = first; seed < first + count && seeds.length < CLAIM_SEEDS; seed++) {
      if (!this.results.has(seed) && !this.#isClaimed(seed)) seeds.push(seed);
      else if (seeds.length > 0) break;
    }
    const range = [seeds[0] ?? 0, seeds.at(-1) ?? 0];
    const { pid } = this.#around;
    if (seeds.length > 0)
      this.#append({ ...this.#key, seeds: range, pid, atMs: this.#around.nowMs() });
    return seeds;
  }

  add(result: SeedResult): void {
    this.#append({ ...this.#key, ...result });
  }

  #take(line: object): void {
    const { code, given, baton } = line as Partial<StateKey> & { readonly baton?: unknown };
    if (baton === MARK) return;
    const isKnown = typeof code === "string" && typeof given === "string";
    if (!isKnown || (!isResult(line) && !isClaim(line))) {
      this.unread++;
      return;
    }
    if (code !== this.#key.code) return;
    const isOurs = given === this.#key.given;
    if (isResult(line)) {
      if (isOurs) this.results.set(line.seed, line);
      else this.others.seeds++;
      if (!isOurs && line.problems.length > 0) this.others.failed++;
    } else if (isOurs) {
      const [first, last] = line.seeds;
      this.#claims.push({ first, last, pid: line.pid, atMs: line.atMs });
    }
  }

  /** One's own claims never count: who asks again has finished, or has begun anew under an old number. */
  #isClaimed(seed: number): boolean {
    const { pid, nowMs, isAlive } = this.#around;
    this.#claims = this.#claims.filter((claim) => {
      return claim.pid !== pid && nowMs() - claim.atMs < CLAIM_MS && isAlive(claim.pid);
    });
    return this.#claims.some(({ first, last }) => first <= seed && seed <= last);
  }

  /** One write to the end of the file: lines of several processes do not mix. */
  #append(line: object): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
  }
}

const MACHINE: Surroundings = {
  pid: process.pid,
  nowMs: () => Date.now(),
  isAlive: (pid) => {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EPERM";
    }
  },
};

function isResult(line: object): line is SeedResult {
  const { seed, packets, cpuMs, problems, again } = line as Partial<SeedResult>;
  const isCounted = [packets, cpuMs].every(Number.isFinite) && Number.isSafeInteger(seed);
  const isTold = Array.isArray(problems) && problems.every((what) => typeof what === "string");
  return isCounted && isTold && typeof again === "string";
}

function isClaim(line: object): line is ClaimLine {
  const { seeds, pid, atMs } = line as Partial<ClaimLine>;
  const isRange = Array.isArray(seeds) && seeds.length === 2 && seeds.every(Number.isSafeInteger);
  return isRange && Number.isSafeInteger(pid) && Number.isFinite(atMs);
}

/** What a process left half written is nothing. */
function parse(line: string): object {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
