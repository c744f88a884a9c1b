/** The core as a Stack: in process, on a virtual clock. */
import { type BuildName } from "../support/core.ts";
import { ADDRESS, PORT_A, PORT_B, pattern } from "../tcp/pair.ts";
import { Peer } from "../tcp/peer.ts";
import type { Sent, SocketOptions, Stack } from "./stack.ts";

/** What a packet needs from the peer to the stack: no round trip takes no time. */
const STEP_US = 50;

export class BatonStack implements Stack {
  readonly family: 4 | 6;
  readonly peer: string;
  readonly local: string;
  readonly peerPort = PORT_A;
  readonly localPort = PORT_B;
  readonly #peer: Peer;
  readonly #options: SocketOptions;
  #handle = 0;
  #taken = 0;
  #known = 0;
  #told = false;

  constructor(build: BuildName, family: 4 | 6, options: SocketOptions, passive: boolean) {
    this.family = family;
    this.peer = ADDRESS[family].a;
    this.local = ADDRESS[family].b;
    this.#options = options;
    const { receiveBuffer } = options;
    this.#peer = new Peer(build, {
      family,
      listen: passive,
      ...(receiveBuffer === undefined ? {} : { rcvBufferMax: receiveBuffer }),
    });
  }

  now(): number {
    return this.#peer.now / 1000;
  }

  pass(ms: number): Promise<void> {
    this.#peer.run(ms * 1000);
    return Promise.resolve();
  }

  inject(packet: Uint8Array): void {
    this.#peer.run(STEP_US);
    this.#peer.raw(packet);
  }

  take(): Sent[] {
    this.#peer.poll();
    const fresh = this.#peer.sent.slice(this.#taken);
    this.#taken = this.#peer.sent.length;
    return fresh.map(({ at, packet }) => ({ at: at / 1000, packet }));
  }

  listen(): void {}

  connect(): void {
    this.#handle = this.#peer.end.connect(this.#peer.now);
    this.#configure();
  }

  accept(): boolean {
    const handles = this.#peer.end.handles("ACCEPTED");
    if (handles.length <= this.#known) return false;
    this.#known += 1;
    this.#handle = handles[this.#known - 1]!;
    this.#configure();
    return true;
  }

  #configure(): void {
    const { noDelay, keepAlive, userTimeoutMs } = this.#options;
    const set = (name: string, value: number) => {
      const err = this.#peer.end.option(this.#handle, name, value);
      if (err !== 0) throw new Error(`${name}: ${err}`);
    };
    if (noDelay) set("NODELAY", 1);
    if (keepAlive) {
      set("KEEPALIVE_INTERVAL_US", keepAlive.interval * 1e6);
      set("KEEPALIVE_PROBES", keepAlive.probes);
      set("KEEPALIVE_US", keepAlive.idle * 1e6);
    }
    if (userTimeoutMs !== undefined) set("USER_TIMEOUT_US", userTimeoutMs * 1000);
  }

  state(): string {
    const name = this.#peer.end.state(this.#handle);
    const over = name === "TIME_WAIT" || name.startsWith("error");
    return over ? "CLOSED" : name.replaceAll("_", "-");
  }

  write(count: number, urgent: boolean): number | string {
    const { end, now } = this.#peer;
    const error = this.#error();
    if (error !== undefined) return error;
    if (this.state() === "CLOSED") return "broken";
    const done = end.write(this.#handle, pattern(count), now);
    if (urgent && done === count) end.option(this.#handle, "URGENT", 1);
    return done;
  }

  read(limit: number): string {
    const { end, now } = this.#peer;
    end.pollEvents();
    const got = end.read(this.#handle, now, limit).length;
    if (got > 0) return `${got} bytes`;
    const error = this.#error();
    if (error !== undefined) return error;
    const ended = this.#told || end.handles("ENDED").includes(this.#handle);
    return ended ? "end" : "nothing";
  }

  /** Why the connection ended, said once. */
  #error(): string | undefined {
    if (this.#told) return undefined;
    const { end } = this.#peer;
    const last = end.events.find(
      ({ type, handle }) => type === "CLOSED" && handle === this.#handle,
    );
    const names = ["RESET", "TIMEOUT", "REFUSED", "ABORTED"];
    const name = names.find((word) => last?.code === end.core.constant(`Err.${word}`));
    this.#told = name !== undefined;
    return name?.toLowerCase();
  }

  shutdown(): void {
    this.#peer.end.shutdown(this.#handle, this.#peer.now);
  }

  close(): void {
    this.#peer.end.release(this.#handle);
    this.#peer.end.pollEvents();
  }

  abort(): void {
    this.#peer.end.abort(this.#handle, this.#peer.now);
  }

  end(): void {}
}
