/**
 * Client packets that came back to the forwarder, given to the core as if they had just arrived. Knows how a
 * packet is looked up again; must not know why it came back.
 */
import type { Core } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import type { SynHint } from "./messages.ts";

interface Reinjection {
  readonly packet: Uint8Array;
  /** Set when the packet is still encapsulated. */
  readonly tuple: Tuple | undefined;
  readonly hint: SynHint | undefined;
  /** Nobody has its connection: answer it with a RST. */
  readonly refuse: boolean;
}

/** Packets that come back in one turn. */
const REINJECT_MAX = 4096;

export class Reinjector {
  readonly counters = { reinjected: 0, reinjectRefused: 0 };
  /** Of the packet that the core has in hand. */
  hint: SynHint | undefined;
  readonly #core: Core;
  readonly #inject: () => void;
  #again: Reinjection[] = [];

  /** `inject` gives packet 0 of the rx batch to the core, as a link would. */
  constructor(core: Core, inject: () => void) {
    this.#core = core;
    this.#inject = inject;
  }

  get isWaiting(): boolean {
    return this.#again.length > 0;
  }

  /** Looks it up once more, on this turn. */
  add(packet: Uint8Array, tuple: Tuple | undefined, hint: SynHint | undefined): void {
    this.#push({ packet, tuple, hint, refuse: false });
  }

  /** Answers it with a RST. */
  refuse(packet: Uint8Array): void {
    this.#push({ packet, tuple: undefined, hint: undefined, refuse: true });
  }

  flush(): void {
    const again = this.#again;
    if (again.length === 0) return;
    this.#again = [];
    const core = this.#core;
    for (const { packet, tuple, hint, refuse } of again) {
      const isPlaced = core.rx.place(0, packet);
      if (!isPlaced || (tuple && !core.unwrapReturned(0, tuple))) {
        this.counters.reinjectRefused++;
        continue;
      }
      if (hint) core.setSynHint(0, hint.sndNxt, hint.tsVal);
      this.counters.reinjected++;
      this.hint = hint;
      if (refuse) core.setMode("rst-unknown");
      this.#inject();
      if (refuse) core.setMode("host-unknown");
    }
    this.hint = undefined;
  }

  #push(packet: Reinjection): void {
    if (this.#again.length >= REINJECT_MAX) this.counters.reinjectRefused++;
    else this.#again.push(packet);
  }
}
