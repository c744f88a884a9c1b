/**
 * bpf(2): maps, programs, and links that hang a program on a device. Knows union bpf_attr; must not know what a
 * program does. Everything here is a descriptor, and gone with it: also when the process is killed.
 */
import { BatonError } from "../errors.ts";
import { deviceIndex } from "./device.ts";
import { libc } from "./libc.ts";

const MAP_CREATE = 0;
const MAP_LOOKUP = 1;
const MAP_UPDATE = 2;
const PROGRAM_LOAD = 5;
const LINK_CREATE = 28;
const ATTACH_XDP = 37;
const ATTACH_INGRESS = 46;
const XDP_GENERIC = 2;
const XDP_NATIVE = 4;

/** Of enum bpf_map_type. */
export const MapType = { HASH: 1, ARRAY: 2, XSK: 17 } as const;

/** Of enum bpf_prog_type: for a choice among queues, for the way into the kernel behind an XDP hook, for that hook. */
export const ProgramType = { FILTER: 1, INGRESS: 3, XDP: 6 } as const;

/** What an XDP program returns for a packet that goes on into the kernel. */
export const XDP_PASS = 2;

export type XdpMode = "native" | "generic";

const LOG_BYTES = 65_536;
const LOG_SHOWN = 300;

/** Keys and values of so many bytes. */
export function createMap(type: number, keyBytes: number, valueBytes: number, max: number): number {
  return bpf(MAP_CREATE, words(24, [type, keyBytes, valueBytes, max]), "eBPF map");
}

export function updateMap(fd: number, key: Uint8Array, value: Uint8Array): void {
  const attr = words(32, [fd]);
  pointer(attr, 8, key);
  pointer(attr, 16, value);
  bpf(MAP_UPDATE, attr, "eBPF map");
}

/** The value of a key, which must be there. */
export function readMap(fd: number, key: Uint8Array, valueBytes: number): Uint8Array {
  const value = new Uint8Array(new ArrayBuffer(valueBytes));
  const attr = words(32, [fd]);
  pointer(attr, 8, key);
  pointer(attr, 16, value);
  bpf(MAP_LOOKUP, attr, "eBPF map");
  return value;
}

/** The verifier's complaint stands in the error. */
export function loadProgram(
  instructions: Uint8Array,
  type: (typeof ProgramType)[keyof typeof ProgramType] = ProgramType.XDP,
): number {
  const log = new Uint8Array(new ArrayBuffer(LOG_BYTES));
  const license = new TextEncoder().encode("Apache-2.0\0");
  const attr = words(120, [type, instructions.length / 8]);
  pointer(attr, 8, instructions);
  pointer(attr, 16, license);
  try {
    return bpf(PROGRAM_LOAD, attr, "eBPF program");
  } catch (error) {
    if (!(error instanceof BatonError) || !["EINVAL", "EACCES"].includes(error.code)) throw error;
  }
  // Once more for the reason: with a log that is too short the kernel refuses good programs.
  new DataView(attr.buffer).setUint32(24, 1, true);
  new DataView(attr.buffer).setUint32(28, LOG_BYTES, true);
  pointer(attr, 32, log);
  try {
    return bpf(PROGRAM_LOAD, attr, "eBPF program");
  } catch (cause) {
    const text = new TextDecoder().decode(log.subarray(0, Math.max(0, log.indexOf(0))));
    const got = text.trim().split("\n").slice(-3).join("; ").slice(-LOG_SHOWN);
    const message = `eBPF program: expected the kernel to accept it, got: ${got || String(cause)}`;
    throw new BatonError("ERR_BATON_KERNEL", message, { cause });
  }
}

export interface AttachedProgram {
  readonly fd: number;
  readonly mode: XdpMode;
}

/** Hangs a program on a device as long as the descriptor lives: in its driver, else in the kernel's generic way. */
export function attachXdp(
  program: number,
  device: string,
  mode: XdpMode | undefined,
): AttachedProgram {
  const index = deviceIndex(device);
  const attach = (flags: number): number => {
    return bpf(LINK_CREATE, words(48, [program, index, ATTACH_XDP, flags]), `XDP on ${device}`);
  };
  if (mode !== "generic") {
    try {
      return { fd: attach(XDP_NATIVE), mode: "native" };
    } catch (error) {
      if (!(error instanceof BatonError)) throw error;
      if (error.code === "EBUSY" || error.code === "EEXIST") throw busy(device, error);
      if (mode === "native" || error.code === "EPERM") throw error;
    }
  }
  try {
    return { fd: attach(XDP_GENERIC), mode: "generic" };
  } catch (error) {
    const isTaken = error instanceof BatonError && ["EBUSY", "EEXIST"].includes(error.code);
    throw isTaken ? busy(device, error) : error;
  }
}

/** Hangs a program on a device's way in, behind XDP and in front of IP. Linux 6.6 or later. */
export function attachIngress(program: number, device: string): number {
  const attr = words(48, [program, deviceIndex(device), ATTACH_INGRESS]);
  return bpf(LINK_CREATE, attr, `eBPF on ${device}`);
}

function busy(device: string, cause: unknown): BatonError {
  const message = `device ${device}: expected no XDP program on it, got one of somebody else`;
  return new BatonError("ERR_BATON_BUSY", message, { cause });
}

function bpf(command: number, attr: Uint8Array, what: string): number {
  try {
    return libc().bpf(command, attr, what);
  } catch (error) {
    if (!(error instanceof BatonError) || error.code !== "EPERM") throw error;
    const message = `${what}: expected the privileges CAP_BPF and CAP_NET_ADMIN, got EPERM`;
    throw new BatonError(error.code, message, { cause: error });
  }
}

/** An attribute of `bytes` bytes that begins with these 32-bit words. */
function words(bytes: number, values: readonly number[]): Uint8Array {
  const attr = new Uint8Array(new ArrayBuffer(bytes));
  const view = new DataView(attr.buffer);
  values.forEach((value, index) => view.setUint32(index * 4, value, true));
  return attr;
}

function pointer(attr: Uint8Array, at: number, bytes: Uint8Array): void {
  new DataView(attr.buffer).setBigUint64(at, BigInt(libc().address(bytes)), true);
}
