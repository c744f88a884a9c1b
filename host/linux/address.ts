/**
 * Address blocks, socket addresses and MAC addresses, between text and the bytes that the kernel takes.
 * Knows both families and the sockaddr layouts; must not know what an address is for.
 */
import { formatAddress, parseAddress } from "../core/address.ts";
import { BatonError } from "../errors.ts";
import { AF_INET, AF_INET6 } from "./libc.ts";

/** An address block: "10.0.0.0/8", or one address ("fd00::1", the same as "fd00::1/128"). */
export interface Prefix {
  readonly family: 4 | 6;
  /** The shortest text form. */
  readonly address: string;
  readonly length: number;
}

export function parsePrefix(text: string): Prefix {
  const [address = "", length, ...rest] = text.split("/");
  const bytes = parseAddress(address);
  const most = (bytes?.length ?? 0) * 8;
  const bits = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : -1;
  if (!bytes || rest.length > 0 || bits < 0 || bits > most) {
    throw new BatonError("ERR_BATON_CONFIG", `address: expected ADDRESS[/LENGTH], got ${text}`);
  }
  return { family: most === 32 ? 4 : 6, address: formatAddress(bytes), length: bits };
}

/** "10.0.0.1/32", always with its length. */
export function prefixText(prefix: Prefix): string {
  return `${prefix.address}/${prefix.length}`;
}

/** 4 or 16 bytes in network order. */
export function addressBytes(address: string): Uint8Array {
  const bytes = parseAddress(address);
  if (bytes) return bytes;
  throw new BatonError("ERR_BATON_CONFIG", `address: expected an IP address, got ${address}`);
}

/** struct sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes). */
export function sockaddr(address: string, port: number): Uint8Array {
  const bytes = addressBytes(address);
  const v4 = bytes.length === 4;
  const result = new Uint8Array(v4 ? 16 : 28);
  result[0] = v4 ? AF_INET : AF_INET6;
  result[2] = port >> 8;
  result[3] = port & 0xff;
  result.set(bytes, v4 ? 4 : 8);
  return result;
}

/** Whether two socket addresses name one port of one address; what else an IPv6 one says does not count. */
export function isSameEnd(one: Uint8Array, other: Uint8Array): boolean {
  const v6 = one[0] === AF_INET6;
  for (let at = 0; at < (v6 ? 24 : 8); at += 1) {
    if ((!v6 || at < 4 || at >= 8) && one[at] !== other[at]) return false;
  }
  return true;
}

/** Six bytes of "02:00:5e:10:00:01". */
export function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new BatonError("ERR_BATON_CONFIG", `mac: expected six bytes aa:bb:.., got ${text}`);
  }
  return Uint8Array.from(text.split(":"), (part) => parseInt(part, 16));
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
