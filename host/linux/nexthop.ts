/**
 * From routes and neighbours to a list of prefixes with MAC addresses, as one device sees them: the first that fits a
 * destination says where its frame goes. Pure; must not know where the list is looked up.
 */
import type { KernelRoute, Neighbour } from "./netlink.ts";

export interface NextHop {
  readonly family: 4 | 6;
  readonly address: Uint8Array;
  /** Of the prefix, in bits. */
  readonly length: number;
  /** Undefined: by the kernel, which routes it elsewhere or does not know the neighbour. */
  readonly mac: Uint8Array | undefined;
  /** The neighbour to be found or confirmed; undefined when there is none, or no need. */
  readonly ask: Uint8Array | undefined;
}

/** Longest prefixes first. */
export function nextHops(
  device: number,
  routes: readonly KernelRoute[],
  neighbours: readonly Neighbour[],
): NextHop[] {
  const sorted = withoutDoubles(routes);
  const near = neighbours.filter((neighbour) => neighbour.device === device);
  const known = new Map(near.map((neighbour) => [keyOf(neighbour.address), neighbour]));
  const hops: NextHop[] = [];
  for (const { family, address, mac, stale } of near) {
    const route = sorted.find((candidate) => fits(candidate, address));
    // A neighbour that is reached by another way than as a neighbour is none.
    if (mac === undefined || !route || !isOnLink(route, device)) continue;
    hops.push({
      family,
      address,
      length: address.length * 8,
      mac,
      ask: stale ? address : undefined,
    });
  }
  for (const route of sorted) {
    const { family, address, length, gateway } = route;
    const isHere = route.plain && route.device === device;
    const by = isHere && gateway ? known.get(keyOf(gateway)) : undefined;
    const isUnsure = isHere && (by?.mac === undefined || by.stale);
    hops.push({ family, address, length, mac: by?.mac, ask: isUnsure ? gateway : undefined });
  }
  return hops.sort((a, b) => b.length - a.length);
}

/** By length, then metric; of several for one prefix the first. */
function withoutDoubles(routes: readonly KernelRoute[]): KernelRoute[] {
  const sorted = [...routes].sort((a, b) => b.length - a.length || a.metric - b.metric);
  const seen = new Set<string>();
  return sorted.filter(({ address, length }) => {
    const key = `${keyOf(address)}/${length}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function isOnLink({ plain, device, gateway }: KernelRoute, index: number): boolean {
  return plain && device === index && gateway === undefined;
}

function fits(route: KernelRoute, address: Uint8Array): boolean {
  if (route.address.length !== address.length) return false;
  for (let bit = 0; bit < route.length; bit += 8) {
    const mask = 0xff & ~(0xff >> Math.min(8, route.length - bit));
    const at = bit >> 3;
    if (((route.address[at] ?? 0) & mask) !== ((address[at] ?? 0) & mask)) return false;
  }
  return true;
}

/** Of 4 or 16 bytes. */
function keyOf(address: Uint8Array): string {
  return address.join();
}
