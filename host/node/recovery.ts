/**
 * A forwarder that begins with an empty table learns it from its nodes (PROTOCOL section 7). Knows what each
 * node reported and which half-done migrations wait for it; must not know packets.
 *
 * A node's SYNC is kept as bare numbers (flow and record) until T_RECORD after recovery: "not listed" is an
 * answer, and a list of live flows would not give it (R22).
 */
import type { Epoch, NodeId } from "../transport/transport.ts";
import type { Book } from "./book.ts";
import { FlowIds } from "./flowid.ts";
import type { FarConnection, FlowId, RecordState, SyncItem, SyncMessage } from "./messages.ts";
import { NO_FLOW, RECORD_STATES } from "./messages.ts";
import type { Owner, Peer } from "./peers.ts";
import type { Tombs } from "./tombs.ts";

const SLICES = 16;
/** Parts of one SYNC: 512 flows each. */
const PARTS_MAX = 16_384;
const ORPHANS_MAX = 4096;

/** A frozen copy whose migration has no verdict in this epoch. */
interface Claim {
  readonly own: Owner;
  readonly next: Owner;
  readonly connection: FarConnection;
}

interface Report {
  readonly epoch: Epoch;
  readonly parts: (readonly SyncItem[] | undefined)[];
  missing: number;
  /** Pairs of flow and record, once it is complete. */
  listed: Uint32Array;
}

/** Flows of one node that end between a restart and its SYNC; more would be adopted and swept late. */
const RELEASED_MAX = 65_536;

export class Recovery {
  isOn = true;
  private readonly reports = new Map<NodeId, Report>();
  private readonly slices = new Set<number>();
  private hasReports = false;
  private claims: Claim[] = [];
  /** Flows by owner that were released before their node's SYNC was whole: it was cut earlier. */
  private readonly released = new Map<string, Set<FlowId>>();
  private readonly orphans = new Map<string, FarConnection>();
  private readonly endUs: number;
  /** The slice of this epoch, once chosen. */
  private slice: number | undefined;

  constructor(
    private readonly book: Book,
    private readonly tombs: Tombs,
    private readonly options: {
      readonly self: NodeId;
      readonly worker: number;
      readonly random: Uint8Array;
    },
  ) {
    this.endUs = book.world.clock.nowUs() + book.timers.recoverUs;
    book.world.table.setRecovering(true);
  }

  /** Introduces this epoch to a node; what comes back is its SYNC. */
  greet(peer: Peer): void {
    const hello = { type: "hello", forwarderEpoch: this.book.epoch, slice: this.slice } as const;
    this.book.world.send(peer.id, hello);
  }

  nextTimeoutUs(): number {
    if (this.isOn) return this.endUs;
    return this.hasReports ? this.endUs + this.book.timers.recordUs : Infinity;
  }

  handleTimeout(): void {
    const nowUs = this.book.world.clock.nowUs();
    if (this.isOn && nowUs >= this.endUs) this.end();
    if (!this.hasReports || nowUs < this.endUs + this.book.timers.recordUs) return;
    // Whoever was frozen for an earlier epoch has given up by now (T_FROZEN < T_RECORD).
    for (const report of this.reports.values()) report.listed = new Uint32Array(0);
    this.hasReports = false;
  }

  handleSync(peer: Peer, message: SyncMessage): void {
    if (message.forwarderEpoch !== this.book.epoch || message.bootEpoch !== peer.epoch) {
      return this.book.count("stale-sync");
    }
    const report = this.reportOf(peer, message);
    if (!report || peer.isSynced || report.parts[message.part] !== undefined) return;
    report.parts[message.part] = message.items;
    if (message.slice !== undefined) this.slices.add(message.slice);
    if (--report.missing === 0) this.complete(peer, report);
  }

  /** RELEASE and SYNC travel independently: what a later cut would not list is not to be adopted. */
  noteReleased(peer: Peer, epoch: Epoch, flow: FlowId): void {
    if (peer.isSynced || flow === NO_FLOW) return;
    const key = `${peer.id} ${epoch}`;
    const flows = this.released.get(key) ?? new Set<FlowId>();
    this.released.set(key, flows);
    if (flows.size < RELEASED_MAX) flows.add(flow);
    else this.book.count("released-dropped");
  }

  /** A blob refused for its old epoch (R21): when nobody claims its connection, the client must hear it. */
  handleOrphan(epoch: Epoch, connection: FarConnection): void {
    if (epoch === this.book.epoch) return;
    // T_RECORD after recovery no blob of an earlier epoch can be on its way: whoever speaks of one is confused.
    if (this.nowUs() >= this.endUs + this.book.timers.recordUs)
      return this.book.count("orphans-late");
    if (!this.isOn) return this.resetOrphan(connection);
    if (this.orphans.size >= ORPHANS_MAX) return this.book.count("orphans-dropped");
    this.orphans.set(`${this.orphans.size}`, connection);
  }

  private nowUs(): number {
    return this.book.world.clock.nowUs();
  }

  private reportOf(peer: Peer, message: SyncMessage): Report | undefined {
    const known = this.reports.get(peer.id);
    if (known && known.epoch === message.bootEpoch) {
      return known.parts.length === message.parts ? known : undefined;
    }
    if (message.parts > PARTS_MAX) {
      this.book.count("sync-too-long");
      return undefined;
    }
    const report: Report = {
      epoch: message.bootEpoch,
      parts: new Array<undefined>(message.parts).fill(undefined),
      missing: message.parts,
      listed: new Uint32Array(0),
    };
    this.reports.set(peer.id, report);
    return report;
  }

  /** SYNC is a cut: it is judged when it is whole. */
  private complete(peer: Peer, report: Report): void {
    const items = report.parts.flatMap((part) => part ?? []);
    report.parts.fill([]);
    report.listed = new Uint32Array(2 * items.length);
    for (const [index, item] of items.entries()) {
      report.listed[2 * index] = item.flow;
      report.listed[2 * index + 1] = RECORD_STATES.indexOf(item.record);
    }
    if (this.book.ids) adoptAll(this.book.ids, report.listed);
    this.hasReports = true;
    peer.isSynced = true;
    for (const item of items) this.claim(peer, report.epoch, item);
    this.released.delete(`${peer.id} ${report.epoch}`);
    this.decide();
    if (this.isOn && this.isComplete()) this.end();
  }

  private isComplete(): boolean {
    for (const peer of this.book.peers.all()) {
      if (!peer.isSynced) return false;
    }
    return true;
  }

  private claim(peer: Peer, epoch: Epoch, item: SyncItem): void {
    const own = { node: peer.id, epoch, flow: item.flow };
    if (!item.connection) return;
    if (this.released.get(`${peer.id} ${epoch}`)?.has(item.flow)) {
      return this.book.count("claim-released");
    }
    if (item.record === "active") this.adopt(own, item.connection);
    if (item.record !== "frozen" || !item.next) return;
    const { flow, target, targetEpoch } = item.next;
    // This epoch has given the identifiers out itself: a late or confused report must not speak for others.
    if (this.book.isOpen(flow) || this.book.isOpen(item.flow)) {
      return this.book.count("claims-refused");
    }
    const next = { node: target, epoch: targetEpoch, flow };
    this.claims.push({ own, next, connection: item.connection });
  }

  /** An ACTIVE claim makes the entry OWNED, unless this epoch has buried the connection or knows a newer. */
  private adopt(own: Owner, connection: FarConnection): void {
    const { tuple } = connection;
    const isAborted = this.book.verdictOf(own.flow)?.verdict === "aborted";
    const { table } = this.book.world;
    const isTaken =
      table.get(tuple) !== undefined ||
      this.book.entryOf(tuple) ||
      this.book.world.isReading(tuple);
    const isOwn = this.book.isOwner(tuple, own.node, own.flow);
    if (isAborted || (isTaken && !isOwn)) {
      this.book.count("claims-refused");
      return this.book.forget(own.node, own.flow);
    }
    this.book.count("claims-adopted");
    this.map(own, connection);
  }

  /** Its client may say nothing before its owner dies: what the owner knew of it is needed then (R20). */
  private map(own: Owner, { tuple, reset }: FarConnection): void {
    this.book.mapTo(tuple, own);
    this.book.world.table.note(tuple, reset);
  }

  /** Judges every frozen copy whose target has reported, or all of them once recovery is over. */
  private decide(): void {
    const open: Claim[] = [];
    for (const claim of this.claims) {
      const target = this.book.peers.get(claim.next.node);
      const isLater = this.isClaimed(claim);
      if (this.isOn && !target?.isSynced && !isLater) open.push(claim);
      else this.verdict(claim, isLater);
    }
    this.claims = open;
  }

  /** Somebody else claims the connection as active: it went on. */
  private isClaimed(claim: Claim): boolean {
    const mapping = this.book.world.table.get(claim.connection.tuple);
    if (!mapping || mapping.action === "tomb") return false;
    return !this.book.isOwner(claim.connection.tuple, claim.own.node, claim.own.flow);
  }

  private verdict(claim: Claim, isLater: boolean): void {
    const { own, next, connection } = claim;
    const { tuple, reset } = connection;
    if (!this.book.peers.isLive(own) || this.book.verdictOf(next.flow)) return;
    const record = this.recordAt(next);
    if (isLater || (record !== undefined && record !== "none" && record !== "poisoned")) {
      return this.book.judge("done", own, next, tuple);
    }
    const isBuried = this.book.entryOf(tuple) !== undefined || this.isTombed(claim);
    if (record !== undefined && !isBuried) {
      this.map(own, connection); // First the mapping, then the verdict.
      return this.book.judge("resume", own, next, tuple);
    }
    if (!isBuried) this.tombs.bury(tuple, [next], [own.flow, next.flow], reset);
    this.book.judge("aborted", own, next, tuple);
    if (this.book.peers.isLive(next)) this.book.forget(next.node, next.flow);
  }

  private isTombed(claim: Claim): boolean {
    return this.book.world.table.get(claim.connection.tuple)?.action === "tomb";
  }

  /** What the target's SYNC says of a flow; undefined when the target cannot say. */
  private recordAt(next: Owner): RecordState | undefined {
    const report = this.reports.get(next.node);
    const peer = this.book.peers.get(next.node);
    if (!report || !peer?.isSynced || report.epoch !== next.epoch) return undefined;
    if (!this.book.peers.isLive(next)) return undefined;
    for (let index = 0; index < report.listed.length; index += 2) {
      if (report.listed[index] === next.flow) return RECORD_STATES[report.listed[index + 1] ?? 0];
    }
    return "none";
  }

  private end(): void {
    this.isOn = false;
    this.chooseSlice();
    this.decide();
    for (const connection of this.orphans.values()) this.resetOrphan(connection);
    this.orphans.clear();
    this.book.world.table.setRecovering(false);
    for (const peer of this.book.peers.all()) if (peer.epoch !== undefined) this.greet(peer);
  }

  /** One after the latest that any node reports, and if possible one under which nobody lists a flow. */
  private chooseSlice(): void {
    const [random = 0, ...start] = this.options.random;
    const listed = new Set<number>(this.slices);
    for (const report of this.reports.values()) {
      for (let index = 0; index < report.listed.length; index += 2) {
        const flow = report.listed[index] ?? NO_FLOW;
        if (flow !== NO_FLOW) listed.add((flow >>> 24) & (SLICES - 1));
      }
    }
    const latest = this.slices.size > 0 ? Math.max(...this.slices) : random & (SLICES - 1);
    let slice = (latest + 1) % SLICES;
    for (let tries = 0; tries < SLICES && listed.has(slice); tries++) slice = (slice + 1) % SLICES;
    this.slice = slice;
    this.book.ids = new FlowIds({
      worker: this.options.worker,
      slice,
      start: start.reduce((sum, byte) => sum * 256 + byte, 0),
      quarantineUs: this.book.timers.quarantineUs,
      clock: this.book.world.clock,
    });
    for (const report of this.reports.values()) adoptAll(this.book.ids, report.listed);
  }

  private resetOrphan(connection: FarConnection): void {
    const { tuple, reset } = connection;
    const isKnown = this.book.world.table.get(tuple) !== undefined || this.book.entryOf(tuple);
    if (isKnown) return;
    if (this.book.entries.size >= this.book.limits.entriesMax) {
      return this.book.count("orphans-dropped");
    }
    this.tombs.bury(tuple, [], [], reset);
  }
}

/** Identifiers that a node holds are in use; those that it remembers rest. */
function adoptAll(ids: FlowIds, listed: Uint32Array): void {
  for (let index = 0; index < listed.length; index += 2) {
    const flow = listed[index] ?? NO_FLOW;
    const record = RECORD_STATES[listed[index + 1] ?? 0];
    ids.adopt(flow);
    if (record !== "active" && record !== "frozen") ids.release(flow);
  }
}
