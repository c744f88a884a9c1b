/** Messages that are given up when their time is over. Knows their deadlines; must not know what becomes of them. */
import type { OutgoingMessage } from "./message.ts";

export class MessageDeadlines {
  /** Not later than the first one. */
  nextUs = Infinity;
  private readonly limited = new Set<OutgoingMessage>();

  add(message: OutgoingMessage): void {
    if (message.deadlineUs === Infinity) return;
    this.limited.add(message);
    this.nextUs = Math.min(this.nextUs, message.deadlineUs);
  }

  delete(message: OutgoingMessage): void {
    this.limited.delete(message);
  }

  takeDue(nowUs: number): OutgoingMessage[] {
    if (nowUs < this.nextUs) return [];
    this.nextUs = Infinity;
    const due: OutgoingMessage[] = [];
    for (const message of this.limited) {
      if (message.deadlineUs <= nowUs) due.push(message);
      else this.nextUs = Math.min(this.nextUs, message.deadlineUs);
    }
    for (const message of due) this.limited.delete(message);
    return due;
  }
}
