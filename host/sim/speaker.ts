/**
 * Who speaks for a connection, as the oracle writes it down: lives of nodes, and which of them may begin it, take it
 * over or probe its client. Knows the invariants I1 and R20; must not know what was seen on other connections.
 */
import { isOver, timestamps, type Flow, type Object } from "./flow.ts";
import { ACK, type TcpPacket } from "./packet.ts";
import { add, after } from "./sequence.ts";

/** Who emitted: a node's name and which of its lives. */
export interface Emitter {
  readonly name: string;
  readonly life: number;
  readonly isForwarder: boolean;
  /** Its stack accepts connections. */
  readonly opens: boolean;
}

/** What the marks of the forwarder's lives begin with. */
export const FORWARDER_MARK = "forwarder ";

/** Only a classifier on a node of its own has ever had it. */
export function isUnmapped({ owners }: Flow): boolean {
  return owners.length === 1 && owners[0]?.startsWith(FORWARDER_MARK) === false;
}

/**
 * This classifier may answer the SYN beside those who have spoken: a copy of it was relayed before any mapping was
 * made, or, where nobody has taken over yet, because the first one seems to be away.
 */
export function mayContend(flow: Flow, node: Emitter): boolean {
  const { owners, isAskedAgain } = flow;
  if (node.isForwarder || owners[0]?.startsWith(FORWARDER_MARK) !== false) return false;
  return owners.length === 1 || (!owners.includes(markOf(node)) && !isAskedAgain);
}

export function markOf(node: Emitter): string {
  return `${node.isForwarder ? FORWARDER_MARK : ""}${node.name}#${node.life}`;
}

/**
 * R20: the forwarder makes a silent client speak. The probe is no stack's. Its numbers are those of a packet that
 * the client sent; one that was damaged on its way is read like any other (its checksum is end to end). Of a client
 * that it never heard, a forwarder knows what the owner reported: SND.NXT, of which the client may lack the last bytes.
 */
export function isProbe(
  node: Emitter,
  flow: Flow,
  segment: TcpPacket,
  damaged: readonly { readonly seq: number; readonly ack: number }[],
): boolean {
  if (!node.isForwarder || (flow.resetAllowed === undefined && !isOver(flow))) return false;
  if (segment.flags !== ACK || segment.payload.length > 0) return false;
  const isOf = (seq: number, ack: number) => segment.seq === add(ack, -1) && segment.ack === seq;
  if (damaged.some(({ seq, ack }) => isOf(seq, ack))) return true;
  return [flow.clientAck, flow.serverNxt].some(
    (seq) => seq !== undefined && after(seq, segment.seq),
  );
}

export function begin(flow: Flow, node: Emitter, segment: TcpPacket, object: Object): void {
  flow.owners.push(markOf(node));
  const scale = segment.options.find(({ kind }) => kind === 3);
  flow.serverShift = flow.hasScale ? (scale?.bytes[0] ?? 0) : 0;
  if (!scale) flow.clientShift = 0;
  flow.serverEdge = undefined;
  flow.serverIss = segment.seq;
  flow.serverNxt = add(segment.seq, 1);
  timestamps(flow, segment, object);
}

export function owner(flow: Flow, node: Emitter, object: Object): void {
  const mark = markOf(node);
  const last = flow.owners.at(-1);
  if (last === mark) return;
  if (flow.owners.includes(mark)) object("I1", `${last ?? "nobody"} has taken over from it`);
  else if (node.opens) object("I1", "a classifier's stack that never accepted it");
  else flow.owners.push(mark);
}
