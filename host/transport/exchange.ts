/**
 * One end's side of the hello exchange with a peer: when a challenge is drawn, repeated and forgotten.
 * Knows times and nonces; must not know datagrams. A challenge proves one epoch and is then used up.
 */
import type { Random } from "../node/environment.ts";
import { sameBytes } from "./bytes.ts";
import { NONCE_BYTES } from "./hello.ts";
import type { TransportLimits } from "./limits.ts";

/** How often a challenge that nobody here asked for is repeated. */
const UNASKED_ATTEMPTS = 3;

export class Exchange {
  private readonly random: Random;
  private readonly limits: TransportLimits;
  private nonce: Uint8Array | undefined;
  private attempts = 0;
  private attemptsMax = 0;
  private firstUs = 0;
  private lastUs = -Infinity;
  private atUs = Infinity;

  constructor(random: Random, limits: TransportLimits) {
    this.random = random;
    this.limits = limits;
  }

  /** Begins, or goes on. `isAsked`: this end wants it, and repeats it until it is answered. */
  begin(isAsked: boolean, nowUs: number): void {
    if (!this.nonce) {
      this.nonce = this.random.bytes(NONCE_BYTES);
      this.attempts = 0;
      this.attemptsMax = 0;
      this.atUs = Infinity;
    }
    this.attemptsMax = Math.max(this.attemptsMax, isAsked ? Infinity : UNASKED_ATTEMPTS);
    this.atUs = Math.min(this.atUs, Math.max(nowUs, this.lastUs + this.limits.helloGapUs));
  }

  /** Something waits for the answer: as begin, but what already runs keeps its pace. */
  insist(nowUs: number): void {
    if (this.nonce) this.attemptsMax = Infinity;
    else this.begin(true, nowUs);
  }

  get challenge(): Uint8Array | undefined {
    return this.nonce;
  }

  /** A hello with the challenge is to be sent now. Forgets a challenge that was repeated enough. */
  isDue(nowUs: number): boolean {
    if (nowUs < this.atUs) return false;
    if (this.attempts < this.attemptsMax) return true;
    this.end();
    return false;
  }

  sent(nowUs: number): void {
    if (this.attempts === 0) this.firstUs = nowUs;
    this.lastUs = nowUs;
    const wait = this.limits.helloUs * 2 ** Math.min(this.attempts, 20);
    this.atUs = nowUs + Math.min(this.limits.helloUsMax, wait);
    this.attempts += 1;
  }

  /** Whether the echo answers the challenge, which is then used up. */
  answers(echo: Uint8Array): boolean {
    if (!this.nonce || !sameBytes(this.nonce, 0, echo, 0, NONCE_BYTES)) return false;
    this.end();
    return true;
  }

  /** Round trip of an exchange that was just answered, when it is certain which hello was. */
  rttUs(nowUs: number): number | undefined {
    return this.attempts === 1 ? nowUs - this.firstUs : undefined;
  }

  nextTimeoutUs(): number {
    return this.atUs;
  }

  private end(): void {
    this.nonce = undefined;
    this.atUs = Infinity;
  }
}
