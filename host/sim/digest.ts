/** One number over everything that happens in a run. Knows words only; not for secrets. */
const SEED = 0x811c9dc5;

export class Digest {
  #state = SEED;
  readonly #texts = new Map<string, number>();

  get value(): number {
    return this.#state >>> 0;
  }

  number(value: number): void {
    this.#word(value | 0);
    this.#word(Math.floor(value / 0x1_0000_0000) | 0);
  }

  /** For the few names of a run: each is read once. */
  text(text: string): void {
    let sum = this.#texts.get(text);
    if (sum === undefined) {
      sum = SEED;
      for (const character of text) sum = Math.imul(sum ^ character.charCodeAt(0), 0x01000193);
      this.#texts.set(text, sum);
    }
    this.#word(sum);
  }

  bytes(bytes: Uint8Array): void {
    const whole = bytes.length & ~3;
    for (let at = 0; at < whole; at += 4) {
      const low = bytes[at]! | (bytes[at + 1]! << 8);
      this.#word(low | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    }
    for (let at = whole; at < bytes.length; at++) this.#word(bytes[at]!);
  }

  /** A round of MurmurHash3 (Appleby): every bit of a word reaches the state. */
  #word(value: number): void {
    const first = Math.imul(value, 0xcc9e2d51);
    const mixed = this.#state ^ Math.imul((first << 15) | (first >>> 17), 0x1b873593);
    this.#state = (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
  }
}
