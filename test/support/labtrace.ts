/**
 * What a service's packets looked like on every node's wire while a test made its visits, sorted by who
 * sent what to whom. Knows the lab's addresses; must not know what is expected.
 */
import * as assert from "uvu/assert";
import type { CapturedPacket } from "../../host/lab/capture.ts";
import type { TcpSegment } from "../../host/lab/packet.ts";
import type { TestService } from "./labservice.ts";

export type TcpPacket = CapturedPacket & { readonly tcp: TcpSegment };

/** One connection: its client's end, who has it, and its packets in the order of capture. */
export interface TracedFlow {
  readonly client: string;
  readonly backend: string;
  readonly flow: number;
  /** Sent by the client. */
  readonly sent: TcpPacket[];
  /** The same when they reached the forwarder. */
  readonly reached: TcpPacket[];
  /** Encapsulated, as they left the forwarder, and as they came to the backend. */
  readonly encapsulated: TcpPacket[];
  readonly delivered: TcpPacket[];
  /** From the backend to the client. */
  readonly answered: TcpPacket[];
}

export class Trace {
  readonly packets: Readonly<Record<string, readonly CapturedPacket[]>>;
  readonly #service: TestService;

  constructor(service: TestService, packets: Readonly<Record<string, readonly CapturedPacket[]>>) {
    this.#service = service;
    this.packets = packets;
  }

  /** Every TCP packet that a node's device saw. */
  tcp(node: string, direction?: "in" | "out"): TcpPacket[] {
    const all = (this.packets[node] ?? []).filter(isTcp);
    return direction === undefined ? all : all.filter((packet) => packet.direction === direction);
  }

  /** Everything that left the forwarder from its tunnel addresses. */
  encapsulated(): TcpPacket[] {
    const { tunnel4, tunnel6 } = this.#service.lab.nodes.forwarder.address;
    return this.tcp("forwarder", "out").filter(({ source }) => [tunnel4, tunnel6].includes(source));
  }

  /** The connections whose first packet was captured. */
  flows(): TracedFlow[] {
    const { lab } = this.#service;
    const handoffs = this.#service.handoffs();
    const sent = groupBy(this.tcp("client", "out"), nameOfSource);
    const reached = groupBy(this.tcp("forwarder", "in"), nameOfSource);
    const flows: TracedFlow[] = [];
    for (const [client, packets] of sent) {
      if (!packets.some(({ tcp }) => tcp.flags === "SYN")) continue;
      const handoff = handoffs.get(client);
      assert.ok(handoff, `${client} was handed over`);
      const { backend, flow } = handoff;
      const { tunnel4, tunnel6 } = lab.node(backend).address;
      const isOfFlow = (packet: TcpPacket): boolean =>
        [tunnel4, tunnel6].includes(packet.destination) &&
        packet.sourcePort === flow >>> 16 &&
        packet.destinationPort === (flow & 0xffff);
      const isAnswer = (packet: TcpPacket): boolean => nameOfDestination(packet) === client;
      flows.push({
        client,
        backend,
        flow,
        sent: packets,
        reached: reached.get(client) ?? [],
        encapsulated: this.encapsulated().filter(isOfFlow),
        delivered: this.tcp(backend, "in").filter(isOfFlow),
        answered: this.tcp(backend, "out").filter(isAnswer),
      });
    }
    return flows;
  }
}

/** Captures on every node but the router while `body` runs. */
export async function traceWhile(service: TestService, body: () => Promise<void>): Promise<Trace> {
  const packets: Record<string, CapturedPacket[]> = {};
  const captures = await Promise.all(
    service.lab.plan.nodes.map(({ name }) => {
      const seen: CapturedPacket[] = [];
      packets[name] = seen;
      return service.lab.capture(name, (packet) => seen.push(packet));
    }),
  );
  await body();
  for (const capture of captures) {
    const { dropped } = await capture.stop();
    assert.is(dropped, 0, "the capture is complete");
  }
  return new Trace(service, packets);
}

/** The bytes that a sender sent, by position behind its SYN; undefined where nothing was captured. */
export class Stream {
  readonly #bytes: Buffer;
  readonly #iss: number;

  constructor(packets: readonly TcpPacket[]) {
    const syn = packets.find(({ tcp }) => tcp.flags === "SYN");
    assert.ok(syn, "the connection's SYN was captured");
    this.#iss = syn.tcp.seq;
    const spans = packets.map(({ tcp }) => ({ from: this.offsetOf(tcp), bytes: tcp.payload }));
    const length = Math.max(0, ...spans.map(({ from, bytes }) => from + bytes.length));
    this.#bytes = Buffer.alloc(length);
    for (const { from, bytes } of spans) if (bytes.length > 0) this.#bytes.set(bytes, from);
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** Position of a segment's first byte; sequence numbers wrap. */
  offsetOf({ seq, flags }: TcpSegment): number {
    return flags === "SYN" ? 0 : (seq - this.#iss - 1) >>> 0;
  }

  /** Whether a segment carries what was sent at its place. */
  holds(segment: TcpSegment): boolean {
    const from = this.offsetOf(segment);
    return this.#bytes.subarray(from, from + segment.payload.length).equals(segment.payload);
  }
}

function isTcp(packet: CapturedPacket): packet is TcpPacket {
  return packet.tcp !== undefined;
}

function nameOfSource({ version, source, sourcePort }: TcpPacket): string {
  return version === 4 ? `${source}:${sourcePort}` : `[${source}]:${sourcePort}`;
}

function nameOfDestination({ version, destination, destinationPort }: TcpPacket): string {
  return version === 4
    ? `${destination}:${destinationPort}`
    : `[${destination}]:${destinationPort}`;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}
