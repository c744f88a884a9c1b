/**
 * Lets the code that blobs travel by be compiled before the first one comes: three transports of this process pass
 * messages of nobody on over loopback, as source, forwarder and target do. Knows sockets, transports and loops;
 * must not know the node that runs beside it, with which it shares the event loop, in turns, and nothing else.
 *
 * Without it the first handful of large blobs after a start take three times as long as later ones: each runs
 * code that is not compiled yet, while the engine's compiler threads want the same cores (docs/performance.md).
 * Sockets belong to it: code that was compiled for datagrams of another making is thrown away at the first real one.
 */
import { setTimeout as wait } from "node:timers/promises";
import { SystemClock } from "../link/clock.ts";
import { Loop, type Turning } from "../link/loop.ts";
import { systemRandom } from "../link/random.ts";
import { openUdp, type UdpSocket } from "../link/udp.ts";
import type { Cipher, Endpoint, Log } from "../node/environment.ts";
import { createTransport, nodeId } from "../transport/create.ts";
import type { NodeId, Passage, Transport } from "../transport/transport.ts";

/** After so many V8 has optimized what is on the way; more of them change nothing that can be measured. */
const MESSAGES = 8;
const MESSAGE_BYTES = 1_048_576;
/** What nodes tell each other beside blobs has this order of length. */
const SMALL_BYTES = 64;
/** Where loopback is down nothing arrives; a machine that is so busy has better things to do. */
const LIMIT_MS = 5_000;
const DATAGRAMS_PER_TURN = 64;
const LOOPBACK = "127.0.0.1";

export interface WarmupOptions {
  readonly cipher: Cipher;
  readonly log: Log;
  readonly limitMs?: number;
  /** Opens a socket on loopback. */
  readonly open?: () => Promise<UdpSocket>;
}

export interface Warmup {
  /** When it has ended, in whatever way: true when all was passed on. */
  readonly done: Promise<boolean>;
  close(): void;
}

/** Begins at once and goes on beside everything else, half of the time at most; never fails a node. */
export function warmUp(options: WarmupOptions): Warmup {
  const { cipher, log, limitMs = LIMIT_MS, open = openLoopback } = options;
  const run = new Run(cipher, open);
  let end: (isWhole: boolean) => void = () => undefined;
  const done = new Promise<boolean>((resolve) => (end = resolve));
  const close = (isWhole: boolean): void => {
    clearTimeout(limit);
    run.close();
    end(isWhole);
  };
  const limit = setTimeout(() => close(false), limitMs);
  run.go().then(close, (error: unknown) => {
    log.write("debug", `no warm-up: ${error instanceof Error ? error.message : String(error)}`);
    close(false);
  });
  return { done, close: () => close(false) };
}

function openLoopback(): Promise<UdpSocket> {
  return openUdp({ listen: { address: LOOPBACK, port: 0 } });
}

class Run {
  readonly #cipher: Cipher;
  readonly #open: () => Promise<UdpSocket>;
  readonly #key = systemRandom.bytes(32);
  readonly #stands: Stand[] = [];
  /** Rejects when one of them breaks. */
  readonly #failed: Promise<never>;
  #fail: (error: unknown) => void = () => undefined;
  #arrived: () => void = () => undefined;
  #isClosed = false;

  constructor(cipher: Cipher, open: () => Promise<UdpSocket>) {
    this.#cipher = cipher;
    this.#open = open;
    this.#failed = new Promise<never>((_resolve, reject) => (this.#fail = reject));
    this.#failed.catch(() => undefined); // Whether anybody waits at that moment or not.
  }

  /** True when all was passed on, false when it was closed before. */
  async go(): Promise<boolean> {
    const target = await this.#stand("target", undefined);
    const forwarder = target && (await this.#stand("forwarder", target));
    const source = forwarder && (await this.#stand("source", undefined));
    if (!source) return false;
    await meet(source, forwarder);
    await meet(forwarder, target);
    const bytes = new Uint8Array(MESSAGE_BYTES);
    for (let count = 0; count < MESSAGES && !this.#isClosed; count++) {
      const begunMs = performance.now();
      const isHere = new Promise<void>((resolve) => (this.#arrived = resolve));
      for (const stand of this.#stands) stand.chat();
      source.send(forwarder, bytes);
      await Promise.race([isHere, this.#failed]);
      // The other half of the time is the node's.
      await wait(performance.now() - begunMs, undefined, { ref: false });
    }
    return !this.#isClosed;
  }

  close(): void {
    this.#isClosed = true;
    for (const stand of this.#stands.splice(0)) stand.close();
    this.#arrived();
  }

  /** Undefined when it was closed meanwhile. `next`: who gets what comes. */
  async #stand(name: string, next: Stand | undefined): Promise<Stand | undefined> {
    const udp = await this.#open();
    if (this.#isClosed) {
      udp.close();
      return undefined;
    }
    const stand = new Stand(name, udp, {
      cipher: this.#cipher,
      key: this.#key,
      message: (bytes) => {
        if (bytes.length === MESSAGE_BYTES) this.#arrived();
      },
      passOn: () => next && { to: next.id, isWanted: () => true },
      failed: (error) => this.#fail(error),
    });
    this.#stands.push(stand);
    return stand;
  }
}

async function meet(a: Stand, b: Stand): Promise<void> {
  await a.add(b);
  await b.add(a);
}

/** One of the three. */
class Stand implements Turning {
  readonly id: NodeId;
  readonly #name: string;
  readonly #udp: UdpSocket;
  readonly #clock = new SystemClock();
  readonly #transport: Transport;
  readonly #loop: Loop;
  readonly #known: Stand[] = [];

  constructor(
    name: string,
    udp: UdpSocket,
    how: {
      readonly cipher: Cipher;
      readonly key: Uint8Array;
      readonly message: (bytes: Uint8Array) => void;
      readonly passOn: () => Passage | undefined;
      readonly failed: (error: unknown) => void;
    },
  ) {
    const { cipher, key, message, passOn, failed } = how;
    this.id = nodeId(cipher, name);
    this.#name = name;
    this.#udp = udp;
    this.#transport = createTransport({
      id: this.id,
      name,
      keys: [key],
      clock: this.#clock,
      random: systemRandom,
      cipher,
      log: { write: () => undefined },
      events: {
        message: (_peer, _epoch, bytes) => message(bytes),
        passOn,
        peerEpoch: () => undefined,
      },
    });
    this.#loop = new Loop(this, this.#clock, failed);
    udp.onReadable(() => this.#loop.wake());
  }

  async add(other: Stand): Promise<void> {
    const endpoint = other.#udp.local;
    await this.#udp.watch(endpoint);
    this.#transport.addPeer({ id: other.id, name: other.#name, endpoint });
    this.#known.push(other);
  }

  send(to: Stand, bytes: Uint8Array): void {
    this.#transport.send(to.id, bytes);
    this.#loop.wake();
  }

  /** What is small, and what is said once, to everybody known. */
  chat(): void {
    for (const to of this.#known) {
      this.send(to, new Uint8Array(SMALL_BYTES));
      this.#transport.sendUnreliable(to.id, new Uint8Array(SMALL_BYTES));
    }
  }

  turn(): boolean {
    const udp = this.#udp;
    const transport = this.#transport;
    udp.receive(this.#take, DATAGRAMS_PER_TURN);
    if (transport.nextTimeoutUs() <= this.#clock.nowUs()) transport.handleTimeout();
    udp.sendAll(this.#next);
    return udp.waiting > 0;
  }

  nextTimeoutUs(): number {
    return this.#transport.nextTimeoutUs();
  }

  pacedUntilUs(): number {
    return this.#transport.pacedUntilUs();
  }

  close(): void {
    this.#loop.close();
    this.#udp.close();
    this.#transport.close();
  }

  readonly #take = (from: Endpoint, bytes: Uint8Array): void =>
    this.#transport.handleDatagram(from, bytes);

  readonly #next = () => this.#transport.pollDatagram();
}
