/**
 * Pools by the identifier that messages carry: the first 8 bytes of the SHA-256 of a pool's name. A
 * connection keeps the pool of the rule that placed it, so that its owner can ask for another member without
 * knowing the rules. Knows names and identifiers; must not know who is usable.
 */
import type { Tuple } from "../core/tuple.ts";
import type { RouteContext, Router } from "../routing/route.ts";
import { nodeId } from "../transport/create.ts";
import type { NodeId } from "../transport/transport.ts";
import type { Cipher } from "./environment.ts";

export class Pools {
  readonly #router: Router;
  readonly #context: (client: Uint8Array) => RouteContext;
  readonly #idOf: (backend: string) => NodeId | undefined;
  readonly #names: ReadonlyMap<NodeId, string>;
  readonly #ids: ReadonlyMap<string, NodeId>;

  constructor(
    cipher: Cipher,
    router: Router,
    context: (client: Uint8Array) => RouteContext,
    idOf: (backend: string) => NodeId | undefined,
  ) {
    this.#router = router;
    this.#context = context;
    this.#idOf = idOf;
    const ids = router.pools.map((name) => [name, nodeId(cipher, name)] as const);
    this.#ids = new Map(ids);
    this.#names = new Map(ids.map(([name, id]) => [id, name]));
  }

  idOf(pool: string): NodeId | undefined {
    return this.#ids.get(pool);
  }

  /** Usable members in the order of the pool's policy; undefined for a pool that no rule names now. */
  members(id: NodeId, tuple: Tuple): readonly NodeId[] | undefined {
    const name = this.#names.get(id);
    if (name === undefined) return undefined;
    const context = this.#context(tuple.remote);
    const members = this.#router.candidates(name, context) ?? [];
    return members.flatMap((member) => this.#idOf(member) ?? []);
  }
}
