/**
 * One client's side of the simulator's application protocol: sends what its plan says, compares every
 * byte of the answers. Knows streams and plans; must not know packets nor what is legitimate.
 */
import type { SimClient } from "./segments.ts";
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import {
  downStream,
  pattern,
  patternLength,
  requestHead,
  upStream,
  type Plan,
} from "./workload.ts";

/** Shortest first answer: it must be told from a reply of the classifier. */
export const ANSWER_MIN = 13;

export interface TalkEvents {
  fault(what: string): void;
  /** The classifier answered in a backend's place. */
  refused(status: string): void;
}

export class Talk {
  #turn = 0;
  #received = 0;
  #sent = 0;
  #first = "";
  #isRefused = false;
  #isPaused = false;

  constructor(
    private readonly plan: Plan,
    private readonly scheduler: Scheduler,
    private readonly random: SeededRandom,
    private readonly events: TalkEvents,
  ) {}

  /** Everything that was planned has happened. */
  get isDone(): boolean {
    return this.#turn >= this.plan.exchanges.length;
  }

  get isRefused(): boolean {
    return this.#isRefused;
  }

  begin(client: SimClient): void {
    if (!this.plan.isPipelined) return this.#request(client);
    while (this.#sent < this.plan.exchanges.length) this.#request(client);
  }

  data(client: SimClient, bytes: Uint8Array): void {
    if (this.#isRefused) return;
    this.#slowDown(client);
    for (let at = 0; at < bytes.length;) {
      const exchange = this.plan.exchanges[this.#turn];
      if (!exchange) return this.events.fault("bytes after the last answer");
      const { stream, down } = exchange;
      const end = Math.min(bytes.length, at + Math.max(1, down - this.#received));
      const right = patternLength(bytes, at, end, downStream(stream), this.#received);
      const isWrong = at + right < end;
      this.#note(bytes.subarray(at, at + right + (isWrong ? 1 : 0)));
      this.#received += right;
      if (isWrong) return this.#mismatch(client, bytes.subarray(at + right + 1), stream);
      if (this.#received === down) this.#next(client);
      at = end;
    }
  }

  /** The first bytes of an answer: a classifier's reply begins otherwise. */
  #note(bytes: Uint8Array): void {
    if (this.#first.length >= ANSWER_MIN) return;
    this.#first += String.fromCharCode(...bytes.subarray(0, ANSWER_MIN - this.#first.length));
  }

  ended(client: SimClient): void {
    client.end();
  }

  /** `rest`: what came behind the first byte that differs. */
  #mismatch(client: SimClient, rest: Uint8Array, stream: number): void {
    const text = this.#first + String.fromCharCode(...rest.subarray(0, 64));
    const status = /HTTP\/1\.1 (\d{3}) /.exec(text)?.[1];
    const mayRefuse = this.#turn === 0 || this.plan.isByRequest === true;
    const isFirst = mayRefuse && this.#first.length < ANSWER_MIN;
    if (status === undefined || !isFirst) {
      return this.events.fault(`stream ${stream}: wrong byte at ${this.#received}`);
    }
    this.#isRefused = true;
    this.events.refused(status);
    client.end();
  }

  #request(client: SimClient): void {
    const turn = this.#sent++;
    const exchange = this.plan.exchanges[turn];
    if (!exchange) return;
    const head = requestHead(this.plan, turn);
    const body = pattern(upStream(exchange.stream), 0, exchange.up);
    const step = this.plan.splitBytes || head.length;
    for (let at = 0; at < head.length; at += step) client.write(head.slice(at, at + step));
    const isLast = turn === this.plan.exchanges.length - 1 && this.plan.closer === "half";
    if (isLast) client.end(body);
    else client.write(body);
  }

  #next(client: SimClient): void {
    this.#received = 0;
    this.#first = "";
    this.#turn++;
    if (this.isDone) {
      if (this.plan.closer === "client") client.end();
    } else if (!this.plan.isPipelined) {
      this.scheduler.after(this.plan.thinkUs, () => this.#request(client));
    }
  }

  #slowDown(client: SimClient): void {
    if (this.#isPaused || !this.random.chance(this.plan.pausePercent)) return;
    this.#isPaused = true;
    client.pause(true);
    this.scheduler.after(this.random.below(this.plan.pauseUs), () => {
      this.#isPaused = false;
      client.pause(false);
    });
  }
}
