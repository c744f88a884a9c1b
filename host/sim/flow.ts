/**
 * One connection as its packets show it to the oracle: the numbers of both sides, and what each segment of the
 * service must keep to. Knows RFC 9293 and RFC 7323; must not know nodes nor who owns what.
 */
import { ACK, FIN, type TcpPacket } from "./packet.ts";
import { add, after, distance, word32 } from "./sequence.ts";

/** Objects to what it is told. */
export type Object = (invariant: string, what: string) => void;

export interface Range {
  readonly from: number;
  readonly to: number;
}

/** A SYN-ACK beside the first one. */
export interface Rival {
  readonly owner: string;
  readonly iss: number;
  readonly shift: number;
  readonly tsVal: number | undefined;
}

/** One connection of a client, from its SYN to the SYN-ACK of the next one on the same ports. */
export interface Flow {
  readonly iss: number;
  /** Lives of nodes that have emitted for it, in the order of their first segment. */
  readonly owners: string[];
  /** The forwarder crashed while the connection was its own: no later life may have it. */
  isLost: boolean;
  /** From the client: its window's right edge as last offered and SND.NXT as seen. */
  clientEdge: number | undefined;
  clientShift: number;
  clientNxt: number;
  clientAck: number | undefined;
  /** Its SYN came to the forwarder once more, after the connection had been taken over. */
  isAskedAgain: boolean;
  /** It sent a RST: whoever hears of it forgets the connection. */
  clientReset: boolean;
  /** Its owner, a backend or a classifier on a node of its own, sent a RST by its next number. */
  serverReset: boolean;
  /** From the service. */
  serverIss: number | undefined;
  /** Numbers of the service in earlier connections of the same port, each with the one that follows its FIN. */
  readonly former: Range[];
  /** What another classifier answered to the same SYN: the client decides. */
  rival: Rival | undefined;
  /** Whose SYN-ACK the client did not take. */
  readonly losers: string[];
  /** Of SYN-ACKs that answered a late SYN of this connection, after its end, or that the client did not take. */
  readonly lateIss: Set<number>;
  serverShift: number;
  serverEdge: number | undefined;
  serverNxt: number | undefined;
  tsVal: number | undefined;
  readonly hasScale: boolean;
  /** One beyond the FIN of each side, once it was seen, and whether the other side acknowledged it. */
  clientFin: number | undefined;
  clientFinAcked: boolean;
  serverFin: number | undefined;
  serverFinAcked: boolean;
  serverFinFirst: boolean;
  /** When both sides' FINs had been acknowledged. */
  overUs: number | undefined;
  /** The first listed cause for a RST. */
  resetAllowed: string | undefined;
}

/** Both sides have sent their FIN and know that it arrived. */
export function isOver(flow: Flow): boolean {
  return flow.clientFinAcked && flow.serverFinAcked;
}

export function timestampOf(segment: TcpPacket): number | undefined {
  const found = segment.options.find(({ kind }) => kind === 8);
  return found && word32(found.bytes);
}

export function timestamps(flow: Flow, segment: TcpPacket, object: Object): void {
  const tsVal = timestampOf(segment);
  if (tsVal === undefined) {
    if (flow.tsVal !== undefined) object("I2", "segment without timestamps");
    return;
  }
  if (flow.tsVal !== undefined && after(flow.tsVal, tsVal)) {
    object("I2", `TSval ${tsVal} after ${flow.tsVal}`);
  }
  flow.tsVal = tsVal;
}

/** Sequence numbers, acknowledgement and windows of a segment in a synchronised state. */
export function numbers(flow: Flow, segment: TcpPacket, object: Object): void {
  if (!(segment.flags & ACK)) return object("I2", "segment without ACK");
  if (after(segment.ack, flow.clientNxt)) {
    object("I2", `acknowledges ${segment.ack}, the client sent up to ${flow.clientNxt}`);
  }
  if (!after(segment.ack, flow.iss)) {
    object("I2", `acknowledges ${segment.ack}, the client began at ${flow.iss}`);
  }
  const end = add(segment.seq, segment.payload.length);
  const next = segment.flags & FIN ? add(end, 1) : end;
  if (flow.serverNxt === undefined || after(next, flow.serverNxt)) flow.serverNxt = next;
  if (segment.flags & FIN && flow.serverFin === undefined) {
    flow.serverFin = next;
    flow.serverFinFirst = flow.clientFin === undefined;
  }
  if (flow.serverFin !== undefined && after(next, flow.serverFin)) object("I2", "beyond its FIN");
  if (segment.ack === flow.clientFin) flow.clientFinAcked = true;
  const isWindowProbe = segment.payload.length <= 1;
  if (flow.clientEdge !== undefined && after(end, flow.clientEdge) && !isWindowProbe) {
    object("I2", `data up to ${end}, the client's window ends at ${flow.clientEdge}`);
  }
  const edge = add(segment.ack, segment.window << flow.serverShift);
  if (flow.serverEdge !== undefined && after(flow.serverEdge, edge)) {
    const back = distance(edge, flow.serverEdge);
    // An edge lies on a multiple of the scale (RFC 7323 2.4); a late ACK may be older than the newest.
    if (back >= 1 << flow.serverShift) object("I2", `window edge steps back by ${back}`);
  } else {
    flow.serverEdge = edge;
  }
}

/** What the client could acknowledge: the connection's own, and what a late SYN made. */
export function rangesOf({ serverIss, serverNxt, lateIss }: Flow): Range[] {
  const own = serverIss === undefined ? [] : [{ from: serverIss, to: serverNxt ?? serverIss }];
  return [...own, ...[...lateIss].map((from) => ({ from, to: add(from, 1) }))];
}

export function isWithin({ from, to }: Range, seq: number): boolean {
  return !after(from, seq) && !after(seq, to);
}

/** A SYN-ACK, said again, for a late SYN of an earlier connection of the port: nobody took it. */
export function isFormerAnswer({ former }: Flow, { seq }: TcpPacket): boolean {
  return former.some(({ from, to }) => from === seq && to === add(from, 1));
}

/** The half-open connection that a late SYN made has nothing to say but where it stands. */
export function isOfLateSyn({ lateIss, iss }: Flow, { seq, ack, payload }: TcpPacket): boolean {
  return payload.length === 0 && lateIss.has(add(seq, -1)) && ack === add(iss, 1);
}

export function newFlow(segment: TcpPacket): Flow {
  const scale = segment.options.find(({ kind }) => kind === 3);
  return {
    iss: segment.seq,
    owners: [],
    isLost: false,
    clientEdge: undefined,
    clientShift: scale?.bytes[0] ?? 0,
    clientNxt: add(segment.seq, 1),
    clientAck: undefined,
    isAskedAgain: false,
    clientReset: false,
    serverReset: false,
    serverIss: undefined,
    former: [],
    rival: undefined,
    losers: [],
    lateIss: new Set(),
    serverShift: 0,
    serverEdge: undefined,
    serverNxt: undefined,
    tsVal: undefined,
    hasScale: scale !== undefined,
    clientFin: undefined,
    clientFinAcked: false,
    serverFin: undefined,
    serverFinAcked: false,
    serverFinFirst: false,
    overUs: undefined,
    resetAllowed: undefined,
  };
}

/**
 * Nothing is kept for a connection before its handoff: where the first classifier seems to be away, another one may
 * answer the same SYN (RFC 9293 3.5, figure 8, as for any that comes late). Nobody has taken over before the client
 * acknowledges one of the two.
 */
export function contend(flow: Flow, owner: string, segment: TcpPacket): void {
  flow.lateIss.add(segment.seq);
  flow.losers.push(owner);
  if (flow.clientAck !== undefined) return;
  const scale = segment.options.find(({ kind }) => kind === 3);
  const [iss, shift, tsVal] = [segment.seq, scale?.bytes[0] ?? 0, timestampOf(segment)];
  flow.rival = { owner, iss, shift, tsVal };
}

/** The first ACK of a client names the SYN-ACK that it took. */
export function choose(flow: Flow, { ack }: TcpPacket): void {
  const { rival, serverIss, owners, losers } = flow;
  if (!rival || ack !== add(rival.iss, 1)) return;
  const [first] = owners.splice(0, owners.length, rival.owner);
  losers.splice(0, losers.length, ...losers.filter((owner) => owner !== rival.owner), first ?? "");
  flow.lateIss.delete(rival.iss);
  if (serverIss !== undefined) flow.lateIss.add(serverIss);
  flow.serverIss = rival.iss;
  flow.serverNxt = add(rival.iss, 1);
  flow.serverShift = flow.hasScale ? rival.shift : 0;
  flow.serverEdge = undefined;
  flow.tsVal = rival.tsVal;
}
