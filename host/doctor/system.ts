/**
 * What `baton doctor` asks of a machine, and the real one's answers. Each trial does the thing itself, as a
 * node would, and leaves nothing behind. Knows system calls; must not know what an answer means.
 */
import { accessSync, constants, readFileSync } from "node:fs";
import { arch, networkInterfaces } from "node:os";
import { coreBuild } from "../core/builds.ts";
import { BatonError } from "../errors.ts";
import { createFastCipher } from "../link/cipher.ts";
import { assemble, exit, set } from "../linux/assembler.ts";
import { loadProgram, XDP_PASS } from "../linux/bpf.ts";
import { deviceMtu, isUp, openTunDevice } from "../linux/device.ts";
import {
  AF_INET,
  libc,
  native,
  SO_RCVBUFFORCE,
  SOCK_DGRAM,
  SOCK_RAW,
  SOL_SOCKET,
} from "../linux/libc.ts";
import { adviseHugePages } from "../linux/huge.ts";
import { getOffloads } from "../linux/offload.ts";
import { findProgram } from "../linux/programs.ts";
import { readSysctl } from "../linux/sysctl.ts";

export const TRIALS = [
  "calls",
  "simd",
  "cipher",
  "tun",
  "segments",
  "raw",
  "xdp",
  "buffer",
  "huge",
] as const;
export type Trial = (typeof TRIALS)[number];

export interface Device {
  readonly name: string;
  readonly mtu: number;
  /** Names of offloads that are off, of tx, tso, gso and gro. */
  readonly without: readonly string[];
}

export interface Machine {
  /** "linux x64" */
  readonly platform: string;
  readonly node: string;
  /** Undefined: it works; else why not, in one line. */
  try(what: Trial): string | undefined;
  /** A setting under /proc/sys/net; undefined where the kernel has none. */
  setting(name: string): string | undefined;
  /** Whether this process may change it. */
  maySet(name: string): boolean;
  /** Those that are up, the loopback device not among them. */
  devices(): readonly Device[];
  /** Undefined: cannot be told. */
  isClockSynchronised(): boolean | undefined;
  /** Open files of a process. */
  filesMax(): number;
  hasProgram(name: string): boolean;
}

const AF_XDP = 44;
const IPPROTO_RAW = 255;
const RECEIVE_BYTES = 4 << 20;
const HUGE_BYTES = 4 << 20;
/** adjtimex(2): struct timex has 208 bytes; with modes 0 it only reads. */
const TIMEX_BYTES = 4096;
const TIME_ERROR = 5;
/** The kernel puts a number in the place of %d. */
const DEVICE = "batondoc%d";

export function thisMachine(): Machine {
  return {
    platform: `${process.platform} ${arch()}`,
    node: process.version,
    try: (what) => reasonOf(ATTEMPTS[what]),
    setting: (name) => readSysctl(name),
    maySet: (name) => mayWrite(`/proc/sys/net/${name}`),
    devices,
    isClockSynchronised,
    filesMax,
    hasProgram: (name) => findProgram(name) !== undefined,
  };
}

/** Each throws when the thing does not work. */
const ATTEMPTS: Readonly<Record<Trial, () => void>> = {
  calls: () => void libc(),
  simd: () => {
    if (coreBuild() !== "core.wasm") throw new Error("this runtime has no SIMD");
  },
  cipher: () => {
    if (!createFastCipher()) throw new Error("this Node does not give its OpenSSL away");
  },
  tun: () => openTun(false),
  segments: () => openTun(true),
  raw: () => openSocket(AF_INET, SOCK_RAW, IPPROTO_RAW),
  xdp: () => {
    openSocket(AF_XDP, SOCK_RAW, 0);
    libc().close(loadProgram(assemble([set(0, XDP_PASS), exit()])));
  },
  buffer: () => {
    const fd = libc().socket(AF_INET, SOCK_DGRAM, 0);
    try {
      libc().setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES);
    } finally {
      libc().close(fd);
    }
  },
  huge: () => adviseHugePages(new Uint8Array(HUGE_BYTES)),
};

/** A device that goes with its descriptor. */
function openTun(offload: boolean): void {
  const { fd } = openTunDevice({ name: DEVICE, kind: "tun", vnetHeader: true, offload });
  libc().close(fd);
}

function openSocket(domain: number, type: number, protocol: number): void {
  libc().close(libc().socket(domain, type, protocol));
}

function reasonOf(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ");
  }
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function devices(): Device[] {
  const names = Object.entries(networkInterfaces())
    .filter(([, addresses]) => addresses?.some(({ internal }) => !internal))
    .map(([name]) => name);
  return names.flatMap((name) => {
    try {
      if (!isUp(name)) return [];
      const without = Object.entries(getOffloads(name)).filter(([, on]) => !on);
      return [{ name, mtu: deviceMtu(name), without: without.map(([offload]) => offload) }];
    } catch (error) {
      if (error instanceof BatonError) return []; // It has just gone, or cannot be asked here.
      throw error;
    }
  });
}

function isClockSynchronised(): boolean | undefined {
  try {
    const adjtimex = native("int adjtimex(uintptr_t buffer)");
    const buffer = new Uint8Array(new ArrayBuffer(TIMEX_BYTES));
    const state = adjtimex(libc().address(buffer));
    return state < 0 ? undefined : state !== TIME_ERROR;
  } catch {
    return undefined; // No system calls: another finding says so.
  }
}

function filesMax(): number {
  const limits = readFileSync("/proc/self/limits", "latin1");
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  return soft === "unlimited" ? Infinity : Number(soft);
}
