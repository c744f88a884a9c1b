/**
 * A Duplex over the simulator's strict client, as Node's HTTP and TLS want a socket, and agents that dial
 * by it. Knows streams and sim/client.ts; must not know packets, nor what is said over a socket.
 */
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { Duplex } from "node:stream";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import type { StrictClient } from "../sim/client.ts";

/** What may be unacknowledged before a writer has to wait. */
const SEND_BUFFER_BYTES = 256 << 10;

type WriteCallback = (error?: Error | null) => void;

export interface End {
  readonly address: string;
  readonly port: number;
}

export class ClientSocket extends Duplex {
  readonly connecting = false;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #client: StrictClient;
  #waiting: WriteCallback | undefined;
  #isOver = false;

  /** @param client is connected */
  constructor(client: StrictClient, local: End) {
    super({ allowHalfOpen: false });
    this.#client = client;
    this.localAddress = local.address;
    this.localPort = local.port;
  }

  /** The client's events, from within its turn. */
  data(bytes: Uint8Array): void {
    if (this.destroyed) return;
    const { buffer, byteOffset, length } = bytes;
    if (!this.push(Buffer.from(buffer, byteOffset, length))) this.#client.pause(true);
  }

  ended(): void {
    if (this.destroyed) return;
    this.push(null);
    this.read(0); // 'end' also for a socket that nobody reads from.
  }

  finished(error: Error | undefined): void {
    this.#isOver = true;
    if (error !== undefined) this.destroy(error);
  }

  /** Something may have been acknowledged. */
  progress(): void {
    const callback = this.#waiting;
    if (callback === undefined || this.#client.unacknowledged > SEND_BUFFER_BYTES) return;
    this.#waiting = undefined;
    callback();
  }

  override _read(): void {
    this.#client.pause(false);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: WriteCallback): void {
    this.#client.write(Uint8Array.from(chunk));
    this.#waiting = callback;
    this.progress();
  }

  override _final(callback: WriteCallback): void {
    this.#client.end();
    callback();
  }

  override _destroy(error: Error | null, callback: WriteCallback): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (!this.#isOver) {
      if (error !== null || waiting !== undefined) this.#client.abort();
      else this.#client.end();
    }
    this.#client.pause(false);
    waiting?.(error ?? new Error("the socket was destroyed"));
    callback(error);
  }

  // What Node's HTTP asks of any socket and the strict client has no use for.
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** Opens a connection to a service address. */
export type Dial = (to: End) => Promise<ClientSocket>;

interface AgentRequest extends ConnectionOptions {
  readonly host: string;
  readonly port: number;
}

type Created = (error: Error | null, socket?: Duplex) => void;

const AGENT_OPTIONS = { keepAlive: true, maxSockets: 1 };

/** For `http.request` and, with `tls`, `https.request`: one connection at a time, kept alive. */
export function dialAgent(dial: Dial, tls: boolean): Agent {
  const agent = new (tls ? TlsAgent : Agent)(AGENT_OPTIONS);
  const createConnection = (options: AgentRequest, created: Created): void => {
    const { host: address, port } = options;
    dial({ address, port }).then(
      (socket) => created(null, tls ? secured(socket, options) : socket),
      (error: unknown) => created(error as Error),
    );
  };
  return Object.assign(agent, { createConnection });
}

/** TLS on top; it shows the addresses of what is below. */
function secured(socket: ClientSocket, options: AgentRequest): Duplex {
  const { localAddress, localPort } = socket;
  const { servername, ca } = options;
  const over = connectTls({
    socket,
    ...(servername === undefined ? {} : { servername }),
    ...(ca === undefined ? {} : { ca }),
  });
  for (const [name, value] of Object.entries({ localAddress, localPort })) {
    Object.defineProperty(over, name, { value, configurable: true });
  }
  return over;
}
