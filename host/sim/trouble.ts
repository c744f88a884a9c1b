/**
 * What happens to nodes in a run: crashes, pauses, refusals, partitions, at seeded times. Knows how long each
 * may last and until when its effects are legitimate; must not know packets.
 */
import type { Cluster } from "./cluster.ts";
import type { Faults } from "./network.ts";
import type { Forwarder } from "../node/forwarder.ts";
import { udpPlace, type SimNode } from "./node.ts";
import type { SeededRandom } from "./random.ts";
import type { SimServer } from "./workload.ts";

export const TROUBLES = [
  "crash",
  "forwarder-crash",
  "pause",
  "long-pause",
  "forwarder-pause",
  "drain",
  "refuse",
  "partition",
  "slow-blob",
] as const;
/** Ways of packets that are cut for a while, in one direction or both: TCP gets over it. */
export const CUTS = ["tunnel-cut", "client-cut"] as const;
/** What happens to classifiers on nodes of their own; nothing where there are none. */
export const CLASSIFIER_TROUBLES = ["classifier-crash", "classifier-pause"] as const;
/**
 * A classifier stands still for so long that others are asked in its place. A client that begins anew on the ports of a
 * connection that it has left, and that the one still has, may meet both.
 */
export const STALLS = ["classifier-stall"] as const;
/** Blobs that come when the packets that waited for them are just being given back: T_EARLY is over. */
export const LATE = ["late-blob"] as const;
export type TroubleKind =
  | (typeof TROUBLES)[number]
  | (typeof CUTS)[number]
  | (typeof CLASSIFIER_TROUBLES)[number]
  | (typeof STALLS)[number]
  | (typeof LATE)[number];

export interface TroubleEvents {
  /** This backend's connections are lost, those on their way to it too. */
  lost(backend: string, cause: string): void;
  /** What this classifier had read or begun is lost. */
  classifierLost(classifier: string, cause: string): void;
  /** This forwarder crashed. */
  forwarderLost(forwarder: string): void;
  /** No packets pass from this client's place, or to it, for so long. */
  clientCut(place: string, forUs: number): void;
  /** For the record. */
  note(what: string): void;
}

/** The network's delays, retransmissions and heartbeats after a trouble's end. */
const SLACK_US = 6_000_000;
const FIRST_US = 2_000_000;
const SPAN_US = 5_000_000;
const SECOND_US = 1_000_000;
/** Somewhat less than the forwarder and the node wait before they hold each other for dead. */
const DEAD_US = 4_500_000;
/** Time for a heartbeat between two silences. */
const HEARD_AGAIN_US = 500_000;
/** How long a service manager takes to start a process again. */
const GAVE_UP_US = 100_000;
const CUT: Faults = {
  delayUs: 100,
  jitterUs: 0,
  lossPercent: 100,
  duplicatePercent: 0,
  reorderPercent: 0,
  reorderUs: 0,
  corruptPercent: 0,
};

export class Trouble {
  /** Until when a backend may be refused, suspected or left without an answer. */
  readonly #until = new Map<string, number>();
  /** Backends whose datagrams were held up by a trouble. */
  readonly #cut = new Set<string>();
  readonly #unheardOf = new Map<string, { readonly fromUs: number; readonly untilUs: number }>();
  /** Until when it may be declared dead. */
  readonly #silentUntil = new Map<string, number>();

  constructor(
    private readonly cluster: Cluster,
    private readonly server: (backend: string) => SimServer | undefined,
    /** Places of the clients. */
    private readonly clients: readonly string[],
    private readonly events: TroubleEvents,
  ) {}

  /** At a random moment, to a random backend. */
  plan(kind: TroubleKind, backends: readonly string[], random: SeededRandom): void {
    const isClassifiers = [...CLASSIFIER_TROUBLES, ...STALLS].some((other) => other === kind);
    const names = isClassifiers ? this.cluster.classifiers.map(({ name }) => name) : backends;
    if (names.length === 0) return;
    const name = random.pick(names);
    const forwarders = this.cluster.forwarders.map((forwarder) => forwarder.name);
    const forwarder = random.child("forwarder").pick(forwarders);
    const atUs = FIRST_US + random.below(SPAN_US);
    this.cluster.scheduler.at(atUs, () => this.#begin(kind, name, forwarder, random));
  }

  /** Something is wrong with this backend, or was a moment ago. */
  isTroubled(backend: string | undefined): boolean {
    const nowUs = this.cluster.scheduler.nowUs();
    const { forwarders } = this.cluster;
    if (forwarders.some(({ name }) => nowUs < (this.#until.get(name) ?? 0))) return true;
    if (backend === undefined) return false;
    return nowUs < (this.#until.get(backend) ?? 0) || this.isUnknown(backend);
  }

  /** A forwarder may hold it for dead. */
  maySeemDead(backend: string): boolean {
    return this.cluster.scheduler.nowUs() < (this.#silentUntil.get(backend) ?? 0);
  }

  /**
   * It stood still and was declared dead meanwhile: it hears that before it says anything (R14). Where paths lose
   * datagrams, or are cut, it may not hear it.
   */
  mustBeSilent(backend: string): boolean {
    const { forwarders, network } = this.cluster;
    const { id } = this.cluster.backend(backend);
    const isDead = forwarders.some(({ isUp, role }) => isUp && role.judge.peers.get(id)?.isDead);
    if (!isDead) return false;
    const isCut = this.#cut.has(backend) || network.counters.lost + network.counters.corrupted > 0;
    return !isCut && this.#restarted.length === 0;
  }

  /** A forwarder knows another life of it than the present one, or none. */
  isUnknown(backend: string): boolean {
    return this.cluster.forwarders.some((forwarder) => !this.#isKnown(forwarder, backend));
  }

  /** A forwarder that began anew waited for T_RECOVER, and has not heard what it has (PROTOCOL section 7). */
  isForgotten(node: string | undefined): boolean {
    if (node === undefined) return false;
    const waited = this.#restarted.filter(({ role }) => !role.judge.isRecovering);
    return waited.some((forwarder) => !this.#isReported(forwarder, node));
  }

  /** Nodes of which a forwarder that began anew does not know what they have. */
  get unreported(): string[] {
    const names = this.cluster.backends.map(({ name }) => name);
    return names.filter((name) => this.#restarted.some((each) => !this.#isReported(each, name)));
  }

  get #restarted(): SimNode<Forwarder>[] {
    return this.cluster.forwarders.filter(({ name }) => this.cluster.life(name) > 1);
  }

  #isKnown({ role }: SimNode<Forwarder>, name: string): boolean {
    const node = this.cluster.node(name);
    const peer = role.judge.peers.get(node.id);
    return node.isUp && peer?.isDead === false && peer.epoch === node.transport.epoch;
  }

  /** Its SYNC is whole. */
  #isReported(forwarder: SimNode<Forwarder>, name: string): boolean {
    const peer = forwarder.role.judge.peers.get(this.cluster.node(name).id);
    return peer?.isSynced === true && this.#isKnown(forwarder, name);
  }

  /** A node gave everything up by itself (R14): its process ends and another one begins. */
  gaveUp(backend: string): void {
    this.cluster.scheduler.after(0, () => {
      this.#crash(backend, "it gave up", GAVE_UP_US);
    });
  }

  #begin(kind: TroubleKind, name: string, forwarder: string, random: SeededRandom): void {
    const seconds = (least: number, most: number): number =>
      Math.floor((least + random.fraction() * (most - least)) * SECOND_US);
    if (kind === "crash" || kind === "classifier-crash") {
      const isForGood = random.chance(20) && this.#isDispensable(name);
      const downUs = random.pick([10_000, seconds(0, 1), seconds(1, 15)]);
      this.#crash(name, "a crash", isForGood ? Infinity : downUs);
    } else if (kind === "forwarder-crash") this.#crashForwarder(forwarder, seconds(0, 8));
    else if (kind === "classifier-pause") this.#pause(name, seconds(0, 0.45));
    else if (kind === "pause" || kind === "classifier-stall") this.#pause(name, seconds(0, 4.5));
    else if (kind === "long-pause") this.#pause(name, seconds(5.5, 90));
    else if (kind === "forwarder-pause") this.#pause(forwarder, seconds(0, 9));
    else if (kind === "drain") this.#drain(name);
    else if (kind === "refuse") this.#refuse(name, seconds(0, 3));
    else if (kind === "partition") this.#partition(name, forwarder, seconds(0, 12), random);
    else if (kind === "tunnel-cut") this.#cutPackets([`${forwarder}>${name}`], seconds(0, 15));
    else if (kind === "client-cut") this.#cutClient(random, () => seconds(0, 15));
    else if (kind === "late-blob") this.#slowBlob(name, forwarder, seconds(0.97, 1.06));
    else this.#slowBlob(name, forwarder, seconds(0, 1));
  }

  #crash(name: string, cause: string, downUs: number): void {
    const node = this.cluster.node(name);
    if (!node.isUp) return;
    this.events.note(`${name}: ${cause}, down for ${downUs} us`);
    node.crash();
    this.#trouble(name, downUs);
    this.#silent(name, downUs);
    if (this.cluster.isClassifier(name)) this.events.classifierLost(name, cause);
    else this.events.lost(name, cause);
    if (downUs === Infinity) return;
    this.cluster.scheduler.after(downUs, () => {
      this.cluster.restart(name);
      this.events.note(`${name}: restarted`);
    });
  }

  /** The service goes on without it: a backend's clients are told, but somebody has to read what they ask for. */
  #isDispensable(name: string): boolean {
    if (!this.cluster.isClassifier(name)) return true;
    return this.cluster.classifiers.some((other) => other.name !== name && other.isUp);
  }

  #crashForwarder(name: string, downUs: number): void {
    const node = this.cluster.node(name);
    if (!node.isUp) return;
    this.events.note(`forwarder ${name}: a crash, down for ${downUs} us`);
    node.crash();
    this.#trouble(name, downUs);
    this.events.forwarderLost(name);
    this.cluster.scheduler.after(downUs, () => {
      this.cluster.restart(name);
      this.events.note(`forwarder ${name}: restarted`);
    });
  }

  #pause(name: string, forUs: number): void {
    const node = this.cluster.node(name);
    if (!node.isUp || node.isPaused) return;
    this.events.note(`${name}: paused for ${forUs} us`);
    node.pause();
    this.#trouble(name, forUs);
    this.#unheard(name, forUs);
    this.cluster.scheduler.after(forUs, () => {
      node.resume();
      this.events.note(`${name}: goes on`);
    });
  }

  #drain(name: string): void {
    const node = this.cluster.backend(name);
    if (!node.isUp) return;
    this.events.note(`${name}: drains`);
    this.#trouble(name, Infinity);
    node.role.drain();
  }

  #refuse(name: string, forUs: number): void {
    const server = this.server(name);
    if (!server) return;
    this.events.note(`${name}: refuses for ${forUs} us`);
    this.#trouble(name, forUs);
    server.isRefusing = true;
    this.cluster.scheduler.after(forUs, () => {
      server.isRefusing = false;
    });
  }

  /** Both directions, or one. */
  #partition(name: string, forwarder: string, forUs: number, random: SeededRandom): void {
    this.#cut.add(name);
    const [here, there] = [udpPlace(name), udpPlace(forwarder)];
    const paths = random.pick([
      [`${here}>${there}`],
      [`${there}>${here}`],
      [`${here}>${there}`, `${there}>${here}`],
    ]);
    this.events.note(`${paths.join(", ")}: cut for ${forUs} us`);
    this.#trouble(name, forUs);
    this.#unheard(name, forUs);
    this.#fault(paths, CUT, forUs);
  }

  /** Datagrams pass: nobody is suspected. */
  #cutPackets(paths: readonly string[], forUs: number): void {
    this.events.note(`${paths.join(", ")}: cut for ${forUs} us`);
    this.#fault(paths, CUT, forUs);
  }

  /** To the service, from it, or both. */
  #cutClient(random: SeededRandom, drawUs: () => number): void {
    const client = random.pick(this.clients);
    const { forwarders, classifiers, backends } = this.cluster;
    const there = forwarders.map(({ name }) => `${client}>${name}`);
    const nodes = [...forwarders, ...classifiers, ...backends];
    const back = nodes.map(({ name }) => `${name}>${client}`);
    const paths = random.pick([there, back, [...there, ...back]]);
    const forUs = drawUs();
    this.#cutPackets(paths, forUs);
    this.events.clientCut(client, forUs);
  }

  /** Blobs and messages are late, packets are not: they wait for their connection. */
  #slowBlob(name: string, forwarder: string, delayUs: number): void {
    this.#cut.add(name);
    const path = `${udpPlace(forwarder)}>${udpPlace(name)}`;
    const forUs = 3 * SECOND_US;
    this.events.note(`${path}: ${delayUs} us late for ${forUs} us`);
    this.#trouble(name, forUs + delayUs);
    this.#fault([path], { ...CUT, lossPercent: 0, delayUs }, forUs);
  }

  #fault(paths: readonly string[], faults: Faults, forUs: number): void {
    const { network, scheduler } = this.cluster;
    for (const path of paths) {
      const [from = "", to = ""] = path.split(">");
      network.setFaults(from, to, faults);
      scheduler.after(forUs, () => network.clearFaults(from, to));
    }
  }

  /** Neither heard nor hearing; what follows upon another trouble soon is one silence with it. */
  #unheard(name: string, forUs: number): void {
    if (this.cluster.isForwarder(name)) return;
    const nowUs = this.cluster.scheduler.nowUs();
    const before = this.#unheardOf.get(name);
    const isOne = before !== undefined && nowUs < before.untilUs + HEARD_AGAIN_US;
    const fromUs = isOne ? before.fromUs : nowUs;
    const untilUs = Math.max(nowUs + forUs, isOne ? before.untilUs : 0);
    this.#unheardOf.set(name, { fromUs, untilUs });
    if (untilUs - fromUs <= DEAD_US) return;
    this.#silent(name, untilUs - nowUs);
    this.events.lost(name, "not heard of for too long");
  }

  #silent(name: string, forUs: number): void {
    this.#note(this.#silentUntil, name, forUs);
  }

  #trouble(name: string, forUs: number): void {
    this.#note(this.#until, name, forUs);
  }

  #note(until: Map<string, number>, name: string, forUs: number): void {
    const endUs = this.cluster.scheduler.nowUs() + forUs + SLACK_US;
    until.set(name, Math.max(endUs, until.get(name) ?? 0));
  }
}
