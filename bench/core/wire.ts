/**
 * A core whose packets come back to it: both ends of every connection in one core, no copy on the wire. Knows
 * the ABI's calls; must not know what is measured. Functions are taken from the test core once, for its own
 * look-up by name would be half of what is measured.
 */
import { initCore, withAddress, type TestParameters } from "../../test/support/batch.ts";
import { type TestCore, openCore } from "../../test/support/core.ts";

export const CLIENT = "10.1.0.1";
export const SERVER = "10.2.0.1";
const CLIENT_WORD = 0x0a010001;
const SERVER_WORD = 0x0a020001;

const CALLS = [
  "connect",
  "loopback",
  "pollTransmit",
  "handlePackets",
  "handleTimeout",
  "pollEvent",
  "readable",
  "readableLength",
  "consume",
  "reserve",
  "commit",
  "shutdown",
  "release",
  "freeze",
  "thaw",
  "compile",
  "unbundle",
  "infuse",
  "discard",
] as const;
type Call = (...args: number[]) => number;

export class Station {
  readonly core: TestCore;
  readonly f: Readonly<Record<(typeof CALLS)[number], Call>>;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly #tuple: number;
  readonly #event: number;
  readonly #span: number;

  constructor(parameters: TestParameters & Record<string, unknown>) {
    this.core = openCore("release");
    const err = initCore(this.core, parameters);
    if (err !== 0) throw new Error(`init returned ${err}`);
    const calls = CALLS.map((name) => [name, this.core.f[name]!] as const);
    this.f = Object.fromEntries(calls) as Record<(typeof CALLS)[number], Call>;
    this.view = this.core.view;
    this.bytes = this.core.bytes;
    this.#tuple = this.core.f.tuplePtr!();
    this.#event = this.core.f.eventPtr!();
    this.#span = this.core.f.spanPtr!();
  }

  serve(address: string, ports: readonly number[], listen: boolean): void {
    for (const port of ports) {
      const added = withAddress(this.core, address, (family, ptr) =>
        this.core.f.serviceAdd!(family, ptr, port, 0, listen ? 1 : 0),
      );
      if (added < 0) throw new Error(`serviceAdd returned ${added}`);
    }
  }

  /** Opens from a port of the client to one of the server. */
  connect(local: number, remote: number, nowUs: number): number {
    const { view } = this;
    const ptr = this.#tuple;
    view.setUint32(ptr, 4, true);
    view.setUint16(ptr + 4, remote, true);
    view.setUint16(ptr + 6, local, true);
    for (let at = 8; at < 40; at += 4) view.setUint32(ptr + at, 0, true);
    view.setUint32(ptr + 8, SERVER_WORD);
    view.setUint32(ptr + 24, CLIENT_WORD);
    const handle = this.f.connect(nowUs);
    if (handle <= 0) throw new Error(`connect returned ${handle}`);
    return handle;
  }

  /** Type of the next event, 0: none; `handle` is whose it is. */
  poll(): number {
    return this.f.pollEvent() === 1 ? this.view.getUint32(this.#event, true) : 0;
  }

  get handle(): number {
    return this.view.getUint32(this.#event + 4, true);
  }

  /** Where the last reserved span begins. */
  get span(): number {
    return this.view.getUint32(this.#span, true);
  }
}

/** Seconds of processor time that `work` takes: what other load on the machine changes least. */
export function cpuSeconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** Monotonic microseconds. */
export function nowUs(): number {
  return 2_000_000 + performance.now() * 1000;
}

export function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1] ?? NaN;
}
