/** Peers by name of the transport and by index of the core: 1 .. 255 in the order of configuration. */
import type { NodeId } from "../transport/transport.ts";

export class PeerIndexes {
  readonly #nodes: readonly NodeId[];
  readonly #indexes: ReadonlyMap<NodeId, number>;

  constructor(nodes: readonly NodeId[]) {
    this.#nodes = nodes;
    this.#indexes = new Map(nodes.map((node, position) => [node, position + 1]));
  }

  /** 0 for a stranger. */
  indexOf(node: NodeId): number {
    return this.#indexes.get(node) ?? 0;
  }

  nodeOf(index: number): NodeId | undefined {
    // Below its first place an array is asked by name, which takes the engine many times as long.
    return index > 0 ? this.#nodes[index - 1] : undefined;
  }
}
