/**
 * Which messages of several chunks may begin, given the reassembly memory that the receiver offers.
 * Knows lengths; must not know chunks. A shut window delays messages, and never loses one.
 */
import type { OutgoingMessage } from "./message.ts";
import type { Numbered } from "./numbered.ts";

/** Messages behind one that does not fit which are looked at, */
const LOOK_AHEAD = 32;
/** and how many may overtake it before it must be next. */
const OVERTAKE_MAX = 64;

export class WindowGate {
  /** A message that may send one chunk whatever the window says. */
  probe: OutgoingMessage | undefined;
  /** When to ask whether the window is still shut. */
  probeUs = Infinity;
  private readonly outstanding: Numbered<OutgoingMessage>;
  private waiting: OutgoingMessage[] = [];
  private windowBytes = 0;
  /** Bytes of admitted messages that are not finished. */
  private admittedBytes = 0;
  private overtaken = 0;
  private probes = 0;

  constructor(outstanding: Numbered<OutgoingMessage>) {
    this.outstanding = outstanding;
  }

  wait(message: OutgoingMessage): void {
    this.waiting.push(message);
  }

  takeAll(): OutgoingMessage[] {
    return this.waiting.splice(0);
  }

  /** The next message that the window has room for. */
  admit(): OutgoingMessage | undefined {
    const isHeadDue = this.overtaken >= OVERTAKE_MAX;
    const reach = isHeadDue ? 1 : Math.min(LOOK_AHEAD, this.waiting.length);
    for (let i = 0; i < reach && i < this.waiting.length; i += 1) {
      const message = this.waiting[i]!;
      const isOver = message.isFinished || message.isAbandoned;
      if (!isOver && this.admittedBytes + message.length > this.windowBytes) continue;
      this.waiting.splice(i, 1);
      this.overtaken = i === 0 ? 0 : this.overtaken + 1;
      if (isOver) return this.admit();
      this.enter(message);
      return message;
    }
    return undefined;
  }

  /** The receiver's newest word. What it does not hold a part of goes back when it no longer fits. */
  set(windowBytes: number): void {
    this.windowBytes = windowBytes;
    if (this.admittedBytes <= windowBytes) return;
    for (const message of [...this.outstanding.values()].reverse()) {
      if (this.admittedBytes <= windowBytes) return;
      if (!message.isAdmitted || message.ackedCount > 0 || message.isAbandoned) continue;
      this.leave(message);
      this.waiting.unshift(message);
    }
  }

  /** A part of the message was acknowledged; returns whether it was not admitted before. */
  holds(message: OutgoingMessage): boolean {
    if (message.isAdmitted || message.isFinished) return false;
    const index = this.waiting.indexOf(message);
    if (index >= 0) this.waiting.splice(index, 1);
    this.enter(message);
    return true;
  }

  leave(message: OutgoingMessage): void {
    if (!message.isAdmitted) return;
    message.isAdmitted = false;
    this.admittedBytes -= message.length;
  }

  handleTimeout(nowUs: number, isIdle: boolean, rtoUs: number, maxUs: number): void {
    if (!isIdle || this.waiting.length === 0) {
      this.probeUs = Infinity;
      this.probes = 0;
    } else if (this.probeUs === Infinity) {
      this.probeUs = nowUs + Math.min(maxUs, rtoUs * 2 ** this.probes);
    } else if (nowUs >= this.probeUs) {
      this.probe = this.waiting[0];
      this.probes = Math.min(this.probes + 1, 20);
      this.probeUs = nowUs + Math.min(maxUs, rtoUs * 2 ** this.probes);
    }
  }

  private enter(message: OutgoingMessage): void {
    message.isAdmitted = true;
    this.admittedBytes += message.length;
  }
}
