/**
 * The order in which a pool's backends are tried. Knows names, loads and the client's address; must not
 * know why a backend is unusable. Rendezvous hashing: Thaler and Ravishankar, 1998.
 */
import type { RouteContext } from "./route.ts";

export const POLICIES = ["round-robin", "least-connections", "hash"] as const;

export type Policy = (typeof POLICIES)[number];

export interface Pool {
  readonly backends: readonly string[];
  readonly policy: Policy;
}

/** One pool's balancing state: nothing but a turn. */
export class Balancer {
  private readonly pool: Pool;
  private turn = 0;

  constructor(pool: Pool) {
    this.pool = pool;
  }

  /** Usable backends, the best first; empty when there is none. */
  candidates(context: RouteContext): string[] {
    const usable = this.pool.backends.filter((backend) => context.usable(backend));
    switch (this.pool.policy) {
      case "round-robin":
        return this.rotate(usable);
      case "least-connections": {
        // Rotated first: equals take turns, because sorting is stable.
        const ranked = this.rotate(usable).map((name) => ({ name, rank: context.load(name) }));
        return ranked.sort((a, b) => a.rank - b.rank).map(({ name }) => name);
      }
      case "hash": {
        const address = context.clientAddress;
        const ranked = usable.map((name) => ({ name, rank: rendezvousRank(address, name) }));
        return ranked.sort((a, b) => b.rank - a.rank).map(({ name }) => name);
      }
    }
  }

  private rotate(names: readonly string[]): string[] {
    if (names.length === 0) return [];
    const first = this.turn % names.length;
    this.turn = (this.turn + 1) % Number.MAX_SAFE_INTEGER;
    const rotated: string[] = [];
    for (let index = 0; index < names.length; index++) {
      const name = names[(first + index) % names.length];
      if (name !== undefined) rotated.push(name);
    }
    return rotated;
  }
}

/**
 * A pseudo-random i32 of the pair: FNV-1a, then the finisher of MurmurHash3, because FNV alone leaves
 * the last characters in the low bits. Every forwarder computes the same.
 */
export function rendezvousRank(client: string, backend: string): number {
  let hash = 0x811c9dc5 | 0;
  const key = `${client}\0${backend}`;
  for (let index = 0; index < key.length; index++) {
    hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ shiftRight(hash, 16), 0x85ebca6b);
  hash = Math.imul(hash ^ shiftRight(hash, 13), 0xc2b2ae35);
  return hash ^ shiftRight(hash, 16);
}

/** Logical shift of an i32, for 0 < count < 32. */
function shiftRight(value: number, count: number): number {
  return (value >> count) & (0x7fffffff >> (count - 1));
}
