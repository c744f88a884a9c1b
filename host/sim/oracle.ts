/**
 * The judge of a simulated run: sees every packet as it is emitted, before any fault, and objects to
 * what DESIGN section 5 forbids. Knows RFC 9293 and the invariants; shares no code with the core.
 *
 * I1  one stack at a time: once a node has spoken for a connection, an earlier owner is silent for good;
 *     only the forwarder's stack opens a connection, and a new one on old ports ends the old one
 * I2  bytes: each client compares what it gets with what was sent; here: nothing beyond its window,
 *     no acknowledgement of what it never sent, a TSval never lower, a window edge never back
 * I3  a RST to a client only for a listed cause
 */
import {
  choose,
  contend,
  isFormerAnswer,
  isOfLateSyn,
  isOver,
  isWithin,
  newFlow,
  numbers,
  rangesOf,
  timestampOf,
  timestamps,
  type Flow,
  type Object,
  type Range,
} from "./flow.ts";
import { ACK, FIN, RST, SYN, flagText, viewTcp, type TcpPacket } from "./packet.ts";
import { add, after } from "./sequence.ts";
import {
  FORWARDER_MARK,
  begin,
  isProbe,
  isUnmapped,
  markOf,
  mayContend,
  owner,
  type Emitter,
} from "./speaker.ts";

export type { Emitter } from "./speaker.ts";

export interface Violation {
  readonly invariant: string;
  readonly what: string;
  readonly atUs: number;
}

type ArrivedAt = Pick<Emitter, "name" | "life"> & Partial<Emitter>;

/** A connection of old, and who may still speak for it. */
interface Ghost {
  readonly flow: Flow;
  /** Undefined: a classifier, and then whoever it hands the connection to. */
  readonly heirs: readonly string[] | undefined;
}

export class Oracle {
  readonly violations: Violation[] = [];
  packets = 0;
  /** By client address and port. */
  readonly #flows = new Map<string, Flow>();
  /**
   * Connections that a node out of the forwarder's reach may still have, or get by a blob of an earlier forwarder,
   * while a newer one runs on their ports: PROTOCOL section 10, accepted (1). Or that a classifier still has, when
   * the forwarder has asked another one since: before a handoff nothing is kept there. They are judged by their own
   * numbers.
   */
  readonly #ghosts = new Map<string, Ghost[]>();
  /** Connections whose SYN was sent on ports of a flow that was not told to be over. */
  readonly #candidates = new Map<string, Flow>();
  /** Numbers in packets that were damaged on their way to the forwarder, by what they say is their client. */
  readonly #damaged = new Map<string, { readonly seq: number; readonly ack: number }[]>();
  readonly #services: ReadonlySet<string>;

  /**
   * @param services       the service addresses, in text form
   * @param unreachable    marks of the backends from which a forwarder that began anew has not heard
   * @param isInDoubt      a move of this client's connection has begun, and may end without an answer
   * @param haunted        two classifiers may have a connection of this client's ports each: accepted (4)
   * @param clockSlackMs   how far the clocks of two nodes may have come apart
   */
  constructor(
    services: Iterable<string>,
    private readonly unreachable: () => readonly string[] = () => [],
    private readonly clockSlackMs: () => number = () => 0,
    private readonly isInDoubt: (address: string, port: number) => boolean = () => false,
    private readonly haunted: (address: string, port: number) => void = () => undefined,
  ) {
    this.#services = new Set(services);
  }

  /** From now on a RST to this client is legitimate, for its connection and for one it has begun. */
  allowReset(address: string, port: number, cause: string): void {
    const key = `${address} ${port}`;
    for (const flow of [this.#flows.get(key), this.#candidates.get(key)]) {
      if (flow) flow.resetAllowed ??= cause;
    }
  }

  /** A RST to this client is legitimate. */
  hasCause(address: string, port: number): boolean {
    return this.#flows.get(`${address} ${port}`)?.resetAllowed !== undefined;
  }

  /** A node has infused the connection: its time begins anew, whoever had it before. */
  arrived(
    address: string,
    port: number,
    { name, life, isForwarder = false, opens = false }: ArrivedAt,
  ): void {
    const owners = this.#flows.get(`${address} ${port}`)?.owners;
    const mark = markOf({ name, life, isForwarder, opens });
    const at = owners?.indexOf(mark) ?? -1;
    if (at >= 0) owners?.splice(at, 1);
    // A classifier speaks for what it accepted, and for what came back to it.
    if (opens) owners?.push(mark);
  }

  /** A backend's process ended: what its stack had is gone, TIME-WAIT too. */
  nodeLost(name: string, cause: string): void {
    for (const flow of this.#flows.values()) {
      if (flow.owners.at(-1)?.startsWith(`${name}#`)) flow.resetAllowed ??= cause;
    }
  }

  /**
   * A classifier's process ended: what it had accepted and what had come back to it is gone. The keys of the clients
   * whose connections nobody else ever had: no mapping tells the forwarder of them (DESIGN section 8).
   */
  classifierLost(name: string, cause: string): string[] {
    const lost: string[] = [];
    for (const [key, flow] of [...this.#flows, ...this.#candidates]) {
      if (!flow.owners.at(-1)?.startsWith(`${name}#`)) continue;
      flow.isLost = true;
      flow.resetAllowed ??= `${name}: ${cause}`;
      if (flow.owners.length === 1) lost.push(key);
    }
    return lost;
  }

  /** A forwarder's process ended: what its own stack had is gone. Its clients' keys. */
  forwarderLost(name: string): string[] {
    const lost: string[] = [];
    for (const [key, flow] of [...this.#flows, ...this.#candidates]) {
      const last = flow.owners.at(-1);
      // Nobody has answered its SYN: the next life will.
      if (!last?.startsWith(`${FORWARDER_MARK}${name}#`)) continue;
      flow.isLost = true;
      flow.resetAllowed ??= "the forwarder crashed before the handoff";
      lost.push(key);
    }
    return lost;
  }

  /** A packet comes to the forwarder, damaged or not. */
  heard(bytes: Uint8Array): void {
    const segment = synOf(bytes);
    if (!segment) return;
    const flow = this.#flows.get(`${segment.source} ${segment.sourcePort}`);
    if (flow?.iss === segment.seq && flow.owners.length > 1) flow.isAskedAgain = true;
  }

  /** A packet comes to the forwarder damaged. */
  damaged(bytes: Uint8Array): void {
    let segment: TcpPacket;
    try {
      segment = viewTcp(bytes);
    } catch {
      return; // No longer a segment: the forwarder drops it.
    }
    const key = `${segment.source} ${segment.sourcePort}`;
    const { seq, ack } = segment;
    this.#damaged.set(key, [...(this.#damaged.get(key) ?? []), { seq, ack }]);
  }

  /** Watches one packet as it is emitted; `node` is undefined for a client. True: it resets a client. */
  watch(node: Emitter | undefined, bytes: Uint8Array, atUs: number): boolean {
    this.packets++;
    let segment: TcpPacket;
    try {
      segment = viewTcp(bytes);
    } catch {
      return false;
    }
    if (!node) {
      if (this.#services.has(segment.destination)) this.#fromClient(segment);
      return false;
    }
    if (!this.#services.has(segment.source)) return false;
    this.#fromService(node, segment, atUs);
    return (segment.flags & RST) !== 0;
  }

  #fromClient(segment: TcpPacket): void {
    const key = `${segment.source} ${segment.sourcePort}`;
    const flow = this.#flows.get(key);
    if (segment.flags & SYN) {
      if (!flow) this.#flows.set(key, newFlow(segment));
      else if (flow.iss !== segment.seq && this.#candidates.get(key)?.iss !== segment.seq) {
        this.#candidates.set(key, newFlow(segment));
      }
      return;
    }
    if (!flow) return;
    if (segment.flags & RST) {
      // It answers what came late for an earlier connection of the port.
      if (!isWithin({ from: add(flow.iss, 1), to: flow.clientNxt }, segment.seq)) return;
      flow.clientReset = true;
      flow.resetAllowed ??= "the client sent a RST";
      return;
    }
    const end = add(segment.seq, segment.payload.length + (segment.flags & FIN ? 1 : 0));
    if (after(end, flow.clientNxt)) flow.clientNxt = end;
    if (segment.flags & FIN) flow.clientFin = end;
    if (flow.clientAck === undefined) choose(flow, segment);
    if (segment.ack === flow.serverFin) flow.serverFinAcked = true;
    if (flow.clientAck === undefined || after(segment.ack, flow.clientAck)) {
      flow.clientAck = segment.ack;
    }
    const edge = add(segment.ack, segment.window << flow.clientShift);
    if (flow.clientEdge === undefined || after(edge, flow.clientEdge)) flow.clientEdge = edge;
  }

  #fromService(node: Emitter, segment: TcpPacket, atUs: number): void {
    const key = `${segment.destination} ${segment.destinationPort}`;
    const object: Object = (invariant, what) => {
      const { flags, seq, ack, payload } = segment;
      const numbers = `${flagText(flags)} seq ${seq} ack ${ack} len ${payload.length}`;
      const text = `${markOf(node)} to ${key}: ${numbers}: ${what}`;
      this.violations.push({ invariant, what: text, atUs });
    };
    if (!segment.ipChecksumOk || !segment.tcpChecksumOk) object("wire", "wrong checksum");
    const flow = this.#flows.get(key);
    if (!flow) return object("I6", "segment to a client that never sent a SYN");
    if (segment.flags & RST) {
      if (!this.#ghostOf(key, node, segment)) this.#reset(key, flow, segment, atUs, object);
      const isOwners = flow.owners.at(-1) === markOf(node) && !node.isForwarder;
      if (isOwners && segment.seq === flow.serverNxt) flow.serverReset = true;
      return;
    }
    if (isProbe(node, flow, segment, this.#damaged.get(key) ?? [])) return;
    if (segment.flags & SYN) return this.#synAck(key, flow, node, segment, object);
    const ghost = this.#ghostOf(key, node, segment);
    if (ghost) {
      if (isOfLateSyn(ghost, segment)) return;
      timestamps(ghost, segment, object);
      return numbers(ghost, segment, object);
    }
    if (flow.owners.length === 0) return object("I2", "segment before the SYN-ACK");
    if (node.opens && isOfLateSyn(flow, segment)) return;
    owner(flow, node, object);
    timestamps(flow, segment, object);
    numbers(flow, segment, object);
    if (isOver(flow)) flow.overUs ??= atUs;
  }

  #reset(key: string, flow: Flow, segment: TcpPacket, atUs: number, object: Object): void {
    const next = this.#candidates.get(key);
    const isForNext = next !== undefined && segment.ack === add(next.iss, 1);
    const about = isForNext && segment.flags & ACK ? next : flow;
    // The answer to a late segment of a former connection of the port (RFC 9293 3.10.7.1, 3.10.7.4): its number is an
    // old one, and the client must ignore it (RFC 5961 3.2).
    const former = about === flow ? flow.former : [...flow.former, ...rangesOf(flow)];
    // Before all else: what is of an old number may be of the present one, too, and a probe may follow it.
    if (this.isInDoubt(segment.destination, segment.destinationPort)) {
      about.resetAllowed ??= "nobody knows how a move ended";
    }
    if (this.#isOld(key, former, segment)) return;
    // RFC 9293 3.10.7.1: what comes late for a connection that is over gets a RST from anybody.
    if (about.resetAllowed !== undefined) return;
    if (!isOver(about)) return object("I3", "RST without a cause");
    // It answers an acknowledgement of the client's: what nobody sent cannot have been acknowledged.
    const isKnown = (segment.flags & ACK) !== 0 || this.#isOld(key, rangesOf(about), segment);
    if (!isKnown) object("I3", "RST by a number that nobody sent");
    about.overUs ??= atUs;
    // RFC 9293 3.6.1: who sent the first FIN answers in TIME-WAIT, and nobody resets before the next SYN.
    const isWaiting = about.serverFinFirst && !next && atUs - about.overUs < TIME_WAIT_US;
    if (isWaiting) object("I3", "RST for a connection in TIME-WAIT");
  }

  #isOld(key: string, former: readonly Range[], { seq, flags }: TcpPacket): boolean {
    if ((flags & ACK) !== 0) return false;
    const damaged = this.#damaged.get(key) ?? [];
    return former.some((range) => isWithin(range, seq)) || damaged.some(({ ack }) => ack === seq);
  }

  #synAck(key: string, flow: Flow, node: Emitter, segment: TcpPacket, object: Object): void {
    if (!node.opens) return object("I1", "a backend's stack opens a connection (R18)");
    const next = this.#candidates.get(key);
    if (next && segment.ack === add(next.iss, 1)) {
      this.#follow(flow, segment, object);
      const isElsewhere = this.#haunt(key, flow, markOf(node));
      if (isElsewhere) this.haunted(segment.destination, segment.destinationPort);
      this.#candidates.delete(key);
      this.#flows.set(key, next);
      next.former.push(...flow.former, ...rangesOf(flow));
      begin(next, node, segment, object);
      return;
    }
    if (flow.lateIss.has(segment.seq) || isFormerAnswer(flow, segment)) return;
    if (this.#ghostOf(key, node, segment)) return;
    if (segment.ack !== add(flow.iss, 1)) return object("I2", "SYN-ACK of a SYN never sent");
    if (flow.owners.at(-1) === markOf(node)) return timestamps(flow, segment, object);
    // RFC 9293 3.5, figure 8: nobody remembers what is over, and a SYN that comes late looks like a new one.
    const isReset = flow.clientReset || flow.serverReset;
    if (isReset || (isOver(flow) && !flow.serverFinFirst)) {
      // Its client has taken none yet, and may take this one.
      const isOpen = flow.clientAck === undefined && mayContend(flow, node);
      if (isOpen) return contend(flow, markOf(node), segment);
      flow.lateIss.add(segment.seq);
      return timestamps(flow, segment, object);
    }
    if (flow.owners.length > 0 && !flow.isLost) {
      if (mayContend(flow, node)) return contend(flow, markOf(node), segment);
      return object("I1", `${flow.owners.at(-1) ?? ""} has taken over from it`);
    }
    begin(flow, node, segment, object);
  }

  /** The old connection's owner, or its heir, may not have heard that it is over, nor the forwarder of them. */
  #haunt(key: string, old: Flow, next: string): boolean {
    const last = old.owners.at(-1);
    const isForwarders = last === undefined || last.startsWith(FORWARDER_MARK);
    const away = this.unreachable();
    const isElsewhere = isUnmapped(old) && last !== next;
    const absent = isForwarders ? (old.isLost ? away : []) : away.filter((mark) => mark === last);
    const heirs = isElsewhere ? undefined : absent;
    const ghosts = this.#ghosts.get(key) ?? [];
    // Classifiers whose SYN-ACK the client did not take may repeat it yet.
    if (old.losers.length > 0) ghosts.push({ flow: old, heirs: old.losers });
    if (heirs?.length !== 0) ghosts.push({ flow: old, heirs });
    this.#ghosts.set(key, ghosts);
    return isElsewhere;
  }

  /** The same node may have the new connection some day: what acknowledges bytes of the old one is the old one's. */
  #ghostOf(key: string, node: Emitter, { seq, ack, flags }: TcpPacket): Flow | undefined {
    const found = this.#ghosts.get(key)?.find(({ flow, heirs }) => {
      const isOld =
        flags & ACK
          ? after(ack, flow.iss) && !after(ack, flow.clientNxt)
          : rangesOf(flow).some((range) => isWithin(range, seq));
      return isOld && (!heirs || heirs.includes(markOf(node)));
    });
    return found?.flow;
  }

  /** RFC 6191, PROTOCOL section 4: after TIME-WAIT the ISS is above, and the TSval not below, the old one's. */
  #follow(old: Flow, segment: TcpPacket, object: Object): void {
    if (old.serverFinFirst && old.serverNxt !== undefined && !after(segment.seq, old.serverNxt)) {
      const lost = old.isLost || old.resetAllowed !== undefined;
      if (!lost) object("I2", `ISS ${segment.seq} is not above SND.NXT ${old.serverNxt}`);
    }
    // TIME-WAIT tells the forwarder the last TSval; after other ends it has its own clock only.
    const isKept = old.serverFinFirst && !old.clientReset;
    const slackMs = isKept ? 0 : this.clockSlackMs();
    const tsVal = timestampOf(segment);
    if (old.tsVal === undefined || tsVal === undefined) return;
    if (after(old.tsVal, add(tsVal, slackMs))) {
      object("I2", `TSval ${tsVal} of the next connection after ${old.tsVal}`);
    }
  }
}

/** Most of what comes carries data, and is not looked at closer. */
const SYN_BYTES_MAX = 120;

function synOf(bytes: Uint8Array): TcpPacket | undefined {
  if (bytes.length > SYN_BYTES_MAX) return undefined;
  try {
    const segment = viewTcp(bytes);
    return (segment.flags & (SYN | ACK)) === SYN ? segment : undefined;
  } catch {
    return undefined; // No segment: the forwarder drops it.
  }
}

/** A little less than it lasts: clocks differ, and the last FIN is counted when it leaves. */
const TIME_WAIT_US = 55_000_000;
