/** Turns of a node in one moment of virtual time: more than a few thousand of them never end. Must not know nodes. */
const TURNS_MAX = 20_000;

export class TurnCount {
  /** Since time last moved on. */
  #turns = 0;
  #us = 0;

  /** @throws Error when there is one turn after the other while time stands still */
  note(nowUs: number): void {
    this.#turns = nowUs === this.#us ? this.#turns + 1 : 0;
    this.#us = nowUs;
    if (this.#turns > TURNS_MAX) throw new Error(`more than ${TURNS_MAX} turns in one moment`);
  }
}
