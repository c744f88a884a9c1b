/** Messages that are given up when their time is over. Knows their deadlines; must not know what becomes of them. */
import type { OutgoingMessage } from "./message.ts";
import { Numbered } from "./numbered.ts";

export class MessageDeadlines {
  /** Not later than the first one. */
  nextUs = Infinity;
  /** In the order in which they came, each under a number of its own. */
  private readonly limited = new Numbered<OutgoingMessage>();
  private last = 0;

  add(message: OutgoingMessage): void {
    if (message.deadlineUs === Infinity) return;
    if (message.limit === 0) message.limit = ++this.last;
    this.limited.set(message.limit, message);
    this.nextUs = Math.min(this.nextUs, message.deadlineUs);
  }

  delete(message: OutgoingMessage): void {
    this.limited.delete(message.limit);
    message.limit = 0;
  }

  takeDue(nowUs: number): OutgoingMessage[] {
    if (nowUs < this.nextUs) return [];
    this.nextUs = Infinity;
    const due: OutgoingMessage[] = [];
    for (const message of this.limited.values()) {
      if (message.deadlineUs <= nowUs) due.push(message);
      else this.nextUs = Math.min(this.nextUs, message.deadlineUs);
    }
    for (const message of due) this.delete(message);
    return due;
  }
}
