/**
 * Proxy neighbour entries: the kernel answers ARP and neighbour solicitations for addresses that it
 * routes elsewhere. Knows `ip neigh`; must not know what the addresses are for. Ours carry
 * ROUTE_PROTOCOL, so that those of a crashed predecessor are found. RFC 1027, RFC 4861 7.2.8.
 */
import { parsePrefix, prefixText } from "./address.ts";
import { ipBatch, ipJson, ROUTE_PROTOCOL } from "./ip.ts";
import { ourPrefixes } from "./route.ts";
import { allowProxy, restore, type Saved } from "./sysctl.ts";

interface Entry {
  readonly address: string;
  readonly device: string;
}

export interface Proxy {
  /** Removes the entries and, when no others of ours are left on the device, the settings. */
  close(): void;
}

/** Answers for each address on `device`. The addresses must be routed already, to another device. */
export function openProxy(device: string, addresses: readonly string[]): Proxy {
  const wanted = addresses.map((text) => ({ address: parsePrefix(text).address, device }));
  const keep = new Set(wanted.map(({ address }) => address));
  const routed = ourPrefixes();
  // Another node on this device has its addresses routed; whoever crashed has not.
  const stale = ourEntries().filter(
    (entry) =>
      entry.device === device &&
      !keep.has(entry.address) &&
      !routed.has(prefixText(parsePrefix(entry.address))),
  );
  const saved = allowProxy(device);
  ipBatch([...stale.map(deletion), ...wanted.map(addition)]);
  return { close: () => closeProxy(device, wanted, saved) };
}

/** Removes every proxy entry of ours in this namespace. */
export function removeProxies(): void {
  ipBatch(ourEntries().map(deletion));
}

function closeProxy(device: string, wanted: readonly Entry[], saved: Saved): void {
  const mine = new Set(wanted.map(({ address }) => address));
  const present = ourEntries().filter((entry) => entry.device === device);
  ipBatch(present.filter(({ address }) => mine.has(address)).map(deletion));
  if (present.every(({ address }) => mine.has(address))) restore(saved);
}

function addition({ address, device }: Entry): string {
  return `neigh replace proxy ${address} dev ${device} protocol ${ROUTE_PROTOCOL}`;
}

function deletion({ address, device }: Entry): string {
  return `neigh del proxy ${address} dev ${device}`;
}

function ourEntries(): Entry[] {
  return ipJson(["neigh", "show", "proxy"])
    .filter((entry) => String(entry.protocol) === String(ROUTE_PROTOCOL))
    .map((entry) => ({
      address: parsePrefix(String(entry.dst)).address,
      device: String(entry.dev),
    }));
}
