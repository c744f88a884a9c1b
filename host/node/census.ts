/**
 * How the backends are, by the forwarders' word: what a classifier on a node of its own routes by. Knows the backends
 * that rules name; must not know what health is made of.
 */
import type { NodeId } from "../transport/transport.ts";
import type { Health } from "./dispatch.ts";
import type { CensusItem } from "./messages.ts";

const UNHEARD: Health = { usable: false, mayReturn: true, load: 0 };

export class Census {
  /** `strangers`: items about nodes that no rule here can name; nothing is kept of them. */
  readonly counters = { strangers: 0 };
  readonly #backends: ReadonlySet<NodeId>;
  readonly #items = new Map<NodeId, CensusItem>();

  constructor(backends: readonly NodeId[]) {
    this.#backends = new Set(backends);
  }

  hear(items: readonly CensusItem[]): void {
    for (const item of items) {
      if (this.#backends.has(item.node)) this.#items.set(item.node, item);
      else this.counters.strangers++;
    }
  }

  /** Until a forwarder has said how the backends are, each may be usable in a moment. */
  healthOf(backend: NodeId): Health | undefined {
    return this.#items.size === 0 ? UNHEARD : this.#items.get(backend);
  }
}
