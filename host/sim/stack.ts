/**
 * The product's own stack as a client host: one core that opens the connections of all clients which do not run the
 * reference client. Knows the core's packets, events and timers; must not know what clients say.
 */
import { Core, type CoreEvent } from "../core/core.ts";
import type { Tuple } from "../core/tuple.ts";
import { LiveConnection } from "../node/live.ts";
import { NO_POOL } from "../node/messages.ts";
import type { ClientOptions, SimClient } from "./segments.ts";
import { addressText, toAddress } from "./packet.ts";
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import { getU16 } from "./sequence.ts";
import { RUN_SIZES } from "./sizes.ts";
import { slab } from "./slab.ts";
import { TurnCount } from "./turns.ts";

/** Each client has its own service entry, which is how the core knows its addresses. */
const CONNECTIONS_MAX = 256;
const READ_BYTES = 16_384;

export class StackHost {
  readonly core: Core;
  readonly #scheduler: Scheduler;
  readonly #failed: (error: unknown) => void;
  readonly #count = new TurnCount();
  readonly #clients = new Map<number, StackClient>();
  readonly #ways = new Map<string, (bytes: Uint8Array) => void>();
  readonly #known = new Set<string>();
  /** Ends that do not answer any more. */
  readonly #silent = new Set<string>();
  #isDue = false;
  #timerUs = Infinity;
  #opened = 0;

  /** @param failed  a trap of the core, or a bug of ours */
  constructor(
    wasm: Uint8Array,
    scheduler: Scheduler,
    random: SeededRandom,
    failed: (error: unknown) => void,
  ) {
    const secrets = { hashSecret: random.bytes(16), isnSecret: random.bytes(16) };
    const sizes = { ...RUN_SIZES, connectionsMax: CONNECTIONS_MAX };
    const wallMs = scheduler.wallMs();
    this.core = new Core(wasm, { ...sizes, ...secrets, wallMs }, scheduler.nowUs());
    this.#scheduler = scheduler;
    this.#failed = failed;
  }

  client(options: ClientOptions): SimClient {
    return new StackClient(this, options);
  }

  /** Active open. @throws BatonError where the core has no room */
  open(
    client: StackClient,
    { address, port, service, servicePort, send }: ClientOptions,
  ): LiveConnection {
    const [local, remote] = [toAddress(address), toAddress(service)];
    const family = local.length === 4 ? 4 : 6;
    const tuple: Tuple = { family, local, localPort: port, remote, remotePort: servicePort };
    this.#ways.set(address, send);
    const end = `${address} ${port}`;
    if (!this.#known.has(end)) this.core.addService(local, port, 0, false);
    this.#known.add(end);
    this.#silent.delete(end); // It vanished, and comes back.
    const handle = this.core.connect(tuple, this.#scheduler.nowUs());
    const context = {
      core: this.core,
      nowUs: () => this.#scheduler.nowUs(),
      wake: () => this.wake(),
      early: () => undefined,
      move: () => undefined,
      offered: () => undefined,
      finished: () => undefined,
    };
    const baggage = { pool: NO_POOL, routing: "connection", state: new Uint8Array(0) } as const;
    this.#clients.set(handle, client);
    // The SYN leaves at once: whoever watches knows the connection before anything is said about it.
    this.#guard(() => this.#turn());
    return new LiveConnection(context, this.#opened++, handle, tuple, baggage);
  }

  /** Forgets a connection without a word, and takes nothing for it any more. */
  silence(handle: number, { address, port }: ClientOptions): void {
    this.#silent.add(`${address} ${port}`);
    this.#clients.delete(handle);
    if (this.core.freeze(handle)) this.core.discard(handle);
    else this.core.abort(handle, this.#scheduler.nowUs());
    this.wake();
  }

  receive(bytes: Uint8Array): void {
    if (this.#silent.has(endOf(bytes, false))) return;
    this.#guard(() => {
      const { rx } = this.core;
      rx.memory.set(bytes, rx.ptr(0));
      rx.setLen(0, bytes.length);
      rx.setOffload(0, 0, 0, 0, 0, 0, 0);
      this.core.handlePackets(1, this.#scheduler.nowUs());
    });
    this.wake();
  }

  /** Asks for a turn at the current time. */
  wake(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#scheduler.after(0, () => {
      this.#isDue = false;
      this.#guard(() => this.#turn());
    });
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#failed(error);
    }
  }

  #turn(): void {
    const { core } = this;
    const now = this.#scheduler.nowUs();
    this.#count.note(now);
    this.#drainEvents();
    if (core.nextTimeoutUs() <= now) core.handleTimeout(now);
    this.#drainEvents();
    for (let count = core.pollTransmit(now); count > 0; count = core.pollTransmit(now)) {
      for (let index = 0; index < count; index++) this.#transmit(index);
    }
    this.#arm();
  }

  #drainEvents(): void {
    for (let event = this.core.pollEvent(); event; event = this.core.pollEvent())
      this.#event(event);
  }

  #event(event: CoreEvent): void {
    this.#clients.get(event.handle)?.handleEvent(event);
    if (event.kind === "released") this.#clients.delete(event.handle);
  }

  #transmit(index: number): void {
    const { tx } = this.core;
    const ptr = tx.ptr(index);
    const bytes = slab.copy(tx.memory, ptr, ptr + tx.len(index));
    if (this.#silent.has(endOf(bytes, true))) return;
    this.#ways.get(sourceOf(bytes))?.(bytes);
  }

  #arm(): void {
    const next = Math.max(this.core.nextTimeoutUs(), this.#scheduler.nowUs());
    if (next === Infinity || next >= this.#timerUs) return;
    this.#timerUs = next;
    this.#scheduler.at(next, () => {
      if (this.#timerUs > next) return;
      this.#timerUs = Infinity;
      this.wake();
    });
  }
}

/** One connection of it, as the visitors see a client. */
class StackClient implements SimClient {
  readonly #host: StackHost;
  readonly #options: ClientOptions;
  readonly #unsent: Uint8Array[] = [];
  readonly #chunk = new Uint8Array(READ_BYTES);
  #live: LiveConnection | undefined;
  #isOpen = false;
  #isOver = false;
  #isPaused = false;
  #isEnding = false;
  /** The peer's FIN was reached, and the application knows it. */
  #hasEnded = false;
  #hasPeerEnded = false;

  constructor(host: StackHost, options: ClientOptions) {
    this.#host = host;
    this.#options = options;
  }

  get state(): string {
    return this.#isOver ? "closed" : this.#isOpen ? "open" : "syn-sent";
  }

  /** Its numbers are the core's own affair. */
  get sndNxt(): number {
    return 0;
  }

  open(): void {
    this.#live = this.#host.open(this, this.#options);
    this.#live.listen({
      readable: () => this.#read(),
      writable: () => this.#flush(),
      ended: () => {
        this.#hasPeerEnded = true;
        this.#read();
      },
      closed: (error) => this.#closed(error?.code),
    });
  }

  handleEvent(event: CoreEvent): void {
    if (event.kind === "connected") {
      this.#isOpen = true;
      this.#options.events.connected();
      this.#flush();
    } else if (event.kind !== "released") this.#live?.handleEvent(event);
  }

  write(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#unsent.push(bytes);
    this.#flush();
  }

  end(last?: Uint8Array): void {
    if (last && last.length > 0) this.#unsent.push(last);
    this.#isEnding = true;
    this.#flush();
  }

  abort(): void {
    if (this.#isOver) return;
    this.#live?.abort();
    this.#finish("closed");
  }

  vanish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#live) this.#host.silence(this.#live.handle, this.#options);
  }

  pause(on: boolean): void {
    this.#isPaused = on;
    if (!on) this.#read();
  }

  receive(bytes: Uint8Array): void {
    this.#host.receive(bytes);
  }

  #flush(): void {
    const live = this.#live;
    if (!live || !this.#isOpen || this.#isOver) return;
    for (let first = this.#unsent[0]; first; first = this.#unsent[0]) {
      const taken = live.write(first);
      if (taken < first.length) {
        this.#unsent[0] = first.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#isEnding) live.shutdown();
  }

  #read(): void {
    const live = this.#live;
    while (live && !this.#isPaused && !this.#isOver) {
      const count = live.read(this.#chunk);
      if (count === 0) break;
      this.#options.events.data(this.#chunk.slice(0, count));
    }
    const isAtEnd = this.#hasPeerEnded && live?.readableLength === 0;
    if (!isAtEnd || this.#hasEnded || this.#isPaused || this.#isOver) return;
    this.#hasEnded = true;
    this.#options.events.ended();
  }

  #closed(code: string | undefined): void {
    if (code === undefined) {
      this.#isPaused = false;
      this.#read(); // What came before the end is still there.
    }
    this.#live?.close();
    const how = code === undefined ? "closed" : code === "ECONNRESET" ? "reset" : "timeout";
    this.#finish(how);
  }

  #finish(how: "closed" | "reset" | "timeout"): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.events.finished(how);
  }
}

function sourceOf(bytes: Uint8Array): string {
  const isV4 = (bytes[0] ?? 0) >> 4 === 4;
  return isV4 ? addressText(bytes, 12, 4) : addressText(bytes, 8, 16);
}

/** Address and port of one end of a TCP packet without IP options. */
function endOf(bytes: Uint8Array, isSource: boolean): string {
  const isV4 = (bytes[0] ?? 0) >> 4 === 4;
  const port = getU16(bytes, (isV4 ? 20 : 40) + (isSource ? 0 : 2));
  if (isSource) return `${sourceOf(bytes)} ${port}`;
  return `${isV4 ? addressText(bytes, 16, 4) : addressText(bytes, 24, 16)} ${port}`;
}
