/**
 * Well-formed messages that mean nothing: fields over their whole range (test/node/arbitrary.ts), many of them replaced
 * by values that the nodes of a running cluster have told each other. Knows names of fields, nothing of a role.
 */
import fc from "fast-check";
import { decodeMessage, encodeMessage } from "../../host/node/codec.ts";
import type { Message } from "../../host/node/messages.ts";
import type { SeededRandom } from "../../host/sim/random.ts";
import { anyMessage } from "../node/arbitrary.ts";

/** Fields whose values name the same kind of thing. */
const KINDS: Readonly<Record<string, string>> = {
  flow: "flow",
  previous: "flow",
  forwarderEpoch: "epoch",
  targetEpoch: "epoch",
  sourceEpoch: "epoch",
  bootEpoch: "epoch",
  currentEpoch: "epoch",
  id: "node",
  node: "node",
  target: "node",
  source: "node",
  forwarder: "node",
  pool: "node",
  attempt: "attempt",
  generation: "generation",
  order: "order",
  relayed: "order",
  asked: "asked",
  slice: "slice",
  part: "part",
  parts: "parts",
  tuple: "tuple",
  connection: "connection",
  hint: "hint",
  packet: "packet",
  blob: "blob",
};
/** Of each kind; a later value takes the place of an earlier one. */
const VALUES_MAX = 64;
const KNOWN_PERCENT = 70;
const DAMAGED_PERCENT = 40;

type Fields = Record<string, unknown>;

export class Nonsense {
  readonly #known = new Map<string, unknown[]>();
  readonly #random: SeededRandom;
  #drawn: Message[] = [];
  #seed: number;

  constructor(random: SeededRandom) {
    this.#random = random;
    this.#seed = random.u32() >> 1;
  }

  /** Remembers the values of a message that was said in earnest. */
  hear(bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message.type !== "malformed") this.#note(message as unknown as Fields);
  }

  /** The bytes of a message that its receiver decodes, and its type. */
  next(): { readonly type: Message["type"]; readonly bytes: Uint8Array } {
    for (;;) {
      const message = this.#mixed(this.#draw() as unknown as Fields) as unknown as Message;
      const bytes = encodeMessage(message);
      // A known value may be none for this field: no flow where one must be named.
      if (decodeMessage(bytes).type === message.type) return { type: message.type, bytes };
    }
  }

  #draw(): Message {
    if (this.#drawn.length === 0) {
      this.#drawn = fc.sample(anyMessage, { seed: this.#seed++, numRuns: 200 });
    }
    return this.#drawn.pop() as Message;
  }

  #note(fields: Fields): void {
    for (const [name, value] of Object.entries(fields)) {
      const kind = KINDS[name];
      if (kind !== undefined && value !== undefined && !isHolder(name, value)) {
        const values = this.#known.get(kind) ?? [];
        this.#known.set(kind, values);
        if (values.length < VALUES_MAX) values.push(value);
        else values[this.#random.below(VALUES_MAX)] = value;
      }
      for (const inner of inside(value)) this.#note(inner);
    }
  }

  #mixed(fields: Fields): Fields {
    return Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [name, this.#value(name, value)]),
    );
  }

  #value(name: string, value: unknown): unknown {
    const values = this.#known.get(KINDS[name] ?? "");
    if (values && !isHolder(name, value) && this.#random.chance(KNOWN_PERCENT)) {
      const known = this.#random.pick(values);
      return known instanceof Uint8Array ? this.#damaged(known) : known;
    }
    if (Array.isArray(value)) return value.map((item: unknown) => this.#item(item));
    return this.#item(value);
  }

  #item(value: unknown): unknown {
    const isPlain = typeof value === "object" && value !== null && !(value instanceof Uint8Array);
    return isPlain ? this.#mixed(value as Fields) : value;
  }

  #damaged(known: Uint8Array): Uint8Array {
    if (known.length === 0 || !this.#random.chance(DAMAGED_PERCENT)) return known;
    const bytes = known.slice(
      0,
      this.#random.chance(30) ? this.#random.below(known.length) : known.length,
    );
    for (let count = this.#random.below(4); count > 0 && bytes.length > 0; count--) {
      bytes[this.#random.below(bytes.length)] = this.#random.below(256);
    }
    return bytes;
  }
}

/** In RESERVE the target is an object that holds a name. */
function isHolder(name: string, value: unknown): boolean {
  return name === "target" && typeof value === "object";
}

function inside(value: unknown): Fields[] {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return [];
  return Array.isArray(value) ? value.flatMap(inside) : [value as Fields];
}
