/**
 * What a reference client is given, and the packets it makes. Knows options and headers; must not know a
 * connection's state.
 */
import { SYN, buildTcp, concat, option } from "./packet.ts";
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

export interface ClientOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly address: string;
  readonly port: number;
  readonly service: string;
  readonly servicePort: number;
  readonly mss: number;
  readonly rcvBuf: number;
  readonly send: (bytes: Uint8Array) => void;
  readonly events: ClientEvents;
  /** Sequence number to begin with; near the wrap it is most interesting. */
  readonly iss: number;
  /** Added to the milliseconds of every TSval: one for all connections of a host. */
  readonly tsOffset: number;
  /** Another connection had these ports shortly before: its owner may answer our SYN. */
  readonly isReused?: boolean;
  /** The FIN leaves with the last data, as soon as it can. */
  readonly finWithData?: boolean;
}

/** A client of either kind, as those see it who talk by it. */
export interface SimClient {
  /** For people. */
  readonly state: string;
  /** Where its numbers end. */
  readonly sndNxt: number;
  open(): void;
  write(bytes: Uint8Array): void;
  /** FIN after everything written, `last` included. */
  end(last?: Uint8Array): void;
  abort(): void;
  /** The host loses its power: nothing is said, and nothing heard. */
  vanish(): void;
  /** A slow reader: while paused, received bytes fill the window. */
  pause(on: boolean): void;
  receive(bytes: Uint8Array): void;
}

export interface ClientEvents {
  connected(): void;
  /** Bytes in order, once each. */
  data(bytes: Uint8Array): void;
  /** The server's FIN was reached. */
  ended(): void;
  /** Everything is over; "closed" is the only good one. */
  finished(how: "closed" | "reset" | "timeout"): void;
  /** The server broke a rule. */
  violation(what: string): void;
}

const NONE = new Uint8Array(0);

export class Segments {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** Milliseconds, from an offset that makes it wrap in some runs. */
  tsVal(): number {
    const { scheduler, tsOffset } = this.#options;
    return (Math.floor(scheduler.nowUs() / 1000) + tsOffset) >>> 0;
  }

  syn(seq: number, windowShift: number): void {
    const options = concat(
      option.mss(this.#options.mss),
      option.sackPermitted(),
      option.timestamps(this.tsVal(), 0),
      option.windowScale(windowShift),
    );
    this.send(seq, 0, SYN, NONE, options, 65535);
  }

  /** `window` as it stands in the header. */
  send(
    seq: number,
    ack: number,
    flags: number,
    payload: Uint8Array,
    options: Uint8Array,
    window: number,
  ): void {
    const { address, port, service, servicePort } = this.#options;
    const bytes = buildTcp({
      source: address,
      destination: service,
      sourcePort: port,
      destinationPort: servicePort,
      seq,
      ack,
      flags,
      window,
      payload,
      options,
    });
    this.#options.send(bytes);
  }
}
