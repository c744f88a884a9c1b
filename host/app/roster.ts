/** Who is still there, and waiting until nobody is. */
import type { CloseReport } from "./application.ts";

export class Roster<T> implements Iterable<T> {
  readonly #members = new Set<T>();
  readonly #waiting = new Set<() => void>();

  get size(): number {
    return this.#members.size;
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#members.values();
  }

  add(member: T): void {
    this.#members.add(member);
  }

  delete(member: T): void {
    if (!this.#members.delete(member) || this.#members.size > 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  /** Resolves when nobody is left; calls `abort` for each that still is after `limitMs`. */
  async emptied(limitMs: number, abort: (member: T) => void): Promise<CloseReport> {
    const total = this.#members.size;
    if (total === 0) return { ended: 0, aborted: 0 };
    let aborted = 0;
    const timer = setTimeout(() => {
      const left = [...this.#members];
      aborted = left.length;
      for (const member of left) abort(member);
    }, limitMs);
    await new Promise<void>((resolve) => this.#waiting.add(resolve));
    clearTimeout(timer);
    return { ended: total - aborted, aborted };
  }
}
