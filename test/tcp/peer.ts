/**
 * One core against a peer of the test's own making: every segment the core gets is built field by field, every
 * segment it sends is looked at. The clock stands still unless the test turns it.
 */
import { type RxPacket, drain, feed } from "../support/batch.ts";
import type { BuildName } from "../support/core.ts";
import type { Address, IpFields, TcpFields, TcpPacket } from "../support/packet.ts";
import { ACK, SYN, buildIcmp, buildTcp, option, parseTcp } from "../support/packet.ts";
import { ADDRESS, End, type EndOptions, PORT_A, PORT_B } from "./pair.ts";

export interface PeerOptions extends EndOptions {
  /** First sequence number of the peer. */
  iss?: number;
}

export type Fields = Partial<IpFields & TcpFields>;

export class Peer {
  readonly end: End;
  readonly family: 4 | 6;
  /** Microseconds since the test began. */
  now = 0;
  /** Everything the core sent. */
  readonly sent: { at: number; packet: TcpPacket }[] = [];
  /** What the next segment says unless the test says otherwise. */
  seq: number;
  ack = 0;
  window = 65535;
  options: () => Uint8Array = () => new Uint8Array(0);
  handle = 0;

  constructor(build: BuildName, options: PeerOptions = {}) {
    const { iss, ...end } = options;
    this.end = new End(build, "b", end);
    this.family = options.family ?? 4;
    this.seq = iss ?? 1000;
  }

  get addresses(): { source: Address; destination: Address } {
    return { source: ADDRESS[this.family].a, destination: ADDRESS[this.family].b };
  }

  build(fields: Fields): Uint8Array {
    return buildTcp({
      ...this.addresses,
      sourcePort: PORT_A,
      destinationPort: PORT_B,
      seq: this.seq >>> 0,
      ack: this.ack >>> 0,
      flags: ACK,
      window: this.window,
      options: this.options(),
      ...fields,
    });
  }

  /** Hands the segments over in one batch; returns the answers. */
  send(...segments: Fields[]): TcpPacket[] {
    return this.raw(...segments.map((fields) => this.build(fields)));
  }

  raw(...packets: RxPacket[]): TcpPacket[] {
    feed(this.end.core, packets, this.clock);
    this.end.pollEvents();
    return this.poll();
  }

  /** What the core sends now. */
  poll(): TcpPacket[] {
    const packets = drain(this.end.core, "pollTransmit", this.clock).map(({ bytes, flags }) => {
      const packet = parseTcp(bytes);
      const sound = flags === 0 ? packet.tcpChecksumOk : packet.partialChecksumOk;
      if (!sound || !packet.ipChecksumOk) throw new Error("bad checksum");
      return packet;
    });
    this.sent.push(...packets.map((packet) => ({ at: this.now, packet })));
    return packets;
  }

  /** Turns the clock by `us`, every deadline on the way included; returns what was sent meanwhile. */
  run(us: number): TcpPacket[] {
    const until = this.now + us;
    const found = this.poll();
    for (let steps = 0; ; steps++) {
      if (steps > 100_000) throw new Error("the clock does not advance");
      const next = this.end.core.f.nextTimeoutUs!() - this.end.startUs;
      if (!(next <= until)) break;
      this.now = Math.max(this.now, next);
      this.end.core.f.handleTimeout!(this.clock);
      this.end.pollEvents();
      found.push(...this.poll());
    }
    this.now = until;
    return found;
  }

  /** Opens from the peer's side; returns the SYN-ACK. `syn`: the options of the SYN. */
  open(syn: Uint8Array = option.mss(1460)): TcpPacket {
    const [synAck] = this.send({ flags: SYN, ack: 0, options: syn });
    if (synAck === undefined) throw new Error("no SYN-ACK");
    this.seq += 1;
    this.ack = (synAck.seq + 1) >>> 0;
    this.send({});
    const handle = this.end.handles("ACCEPTED").at(-1);
    if (handle === undefined) throw new Error("not accepted");
    this.handle = handle;
    return synAck;
  }

  /** Lets the core open to the peer; returns its SYN. */
  dialled(): TcpPacket {
    this.handle = this.end.connect(this.now);
    if (this.handle <= 0) throw new Error(`connect returned ${this.handle}`);
    const [syn] = this.poll();
    if (syn === undefined) throw new Error("no SYN");
    this.ack = (syn.seq + 1) >>> 0;
    return syn;
  }

  /** Writes and sends; returns the segments. */
  write(data: Uint8Array): TcpPacket[] {
    this.end.write(this.handle, data, this.now);
    return this.poll();
  }

  /** An ICMP error from a router, quoting a packet of the core. */
  icmp([type, code]: readonly [number, number], quoted: Uint8Array, rest = 0): TcpPacket[] {
    const { destination } = this.addresses;
    const source = this.family === 4 ? "192.0.2.1" : "2001:db8::1";
    return this.raw(buildIcmp({ source, destination, type, code, rest, body: quoted }));
  }

  /** A segment as the core would have sent it, for a router to quote. */
  quote(seq: number): Uint8Array {
    const { source, destination } = this.addresses;
    return buildTcp({
      source: destination,
      destination: source,
      sourcePort: PORT_B,
      destinationPort: PORT_A,
      seq: seq >>> 0,
    });
  }

  info(name: string): number {
    return this.end.info(this.handle, name);
  }

  state(): string {
    return this.end.state(this.handle);
  }

  /** Types of the events polled so far, in order. */
  get events(): string[] {
    return this.end.events.map(({ type }) => type);
  }

  get clock(): number {
    return this.now + this.end.startUs;
  }
}

/** Payload bytes of segments, in order. */
export function sizes(packets: readonly TcpPacket[]): number[] {
  return packets.map(({ payload }) => payload.length).filter((length) => length > 0);
}
