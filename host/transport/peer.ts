/**
 * One peer: its proved epoch, the hello exchange, and the session. Knows which epoch is current and which
 * are over; must not know what travels in a session. PROTOCOL section 2.
 */
import type { Endpoint, Log, Random } from "../node/environment.ts";
import { fromHex } from "./bytes.ts";
import { Exchange } from "./exchange.ts";
import { HELLO_BYTES, writeHello, type Hello } from "./hello.ts";
import type { Passing } from "./incoming.ts";
import { DATAGRAM_BYTES_MAX, OLDER_EPOCHS_MAX } from "./limits.ts";
import type { Arriving } from "./message.ts";
import { Outgoing } from "./outgoing.ts";
import { Session, type SealCounter, type SessionShared } from "./session.ts";
import type { NodeId, OutgoingDatagram, PeerConfig, TransportEvents } from "./transport.ts";
import { UnreliableSender } from "./unreliable.ts";

/** What the peers of one transport share. */
export interface PeerShared extends SessionShared {
  readonly random: Random;
  readonly log: Log;
  readonly events: TransportEvents;
  readonly epochBytes: Uint8Array;
  /** Current cluster keys, and their hello keys, in the same order. */
  keys(): readonly Uint8Array[];
  helloKeys(): readonly Uint8Array[];
  /** The peer may have something to send. */
  wake(peer: Peer): void;
  /** Who takes a message of this peer on, as it comes. */
  passOn(peer: Peer, epoch: string, message: Arriving): Passing | undefined;
  /** A session began or its keys changed, or it ended. */
  opened(session: Session): void;
  closed(session: Session): void;
}

interface Answer {
  readonly to: Endpoint;
  readonly echo: Uint8Array;
  readonly epoch: string;
}

/** Answers that wait for the next poll. */
const ANSWERS_MAX = 8;
/** Timeouts in a row after which the peer may have restarted unheard. */
const SILENT_TIMEOUTS = 3;

export class Peer {
  readonly id: NodeId;
  readonly name: string;
  /** In the list of those that may have something to send. */
  isAwake = false;
  session: Session | undefined;
  private readonly shared: PeerShared;
  private readonly idBytes: Uint8Array;
  private readonly exchange: Exchange;
  private readonly counter: SealCounter = { next: 0 };
  private readonly unreliable: UnreliableSender;
  private readonly older = new Set<string>();
  private outgoing: Outgoing;
  private isConfigured = false;
  private endpoint: Endpoint | undefined;
  /** Where a hello may find it while no endpoint is configured or proved. */
  private candidate: Endpoint | undefined;
  private answers: Answer[] = [];
  private answersLeft: number;
  private answersUs = 0;

  constructor(shared: PeerShared, config: PeerConfig) {
    this.shared = shared;
    this.id = config.id;
    this.name = config.name;
    this.idBytes = fromHex(config.id);
    this.exchange = new Exchange(shared.random, shared.limits);
    this.unreliable = new UnreliableSender(shared.limits, shared.counters);
    this.outgoing = new Outgoing(shared.limits, shared.counters);
    this.answersLeft = shared.limits.helloAnswersMax;
    this.configure(config);
  }

  configure(config: PeerConfig): void {
    this.isConfigured = config.endpoint !== undefined;
    if (config.endpoint) this.endpoint = config.endpoint;
  }

  get rttUs(): number | undefined {
    return this.outgoing.recovery.rtt.srttUs;
  }

  get pacedUntilUs(): number {
    return this.session ? this.outgoing.pacedUntilUs : Infinity;
  }

  send(
    bytes: Uint8Array,
    deadlineUs: number,
    onOutcome: ((outcome: "delivered" | "unknown") => void) | undefined,
    nowUs: number,
  ): void {
    this.outgoing.send(bytes, deadlineUs, onOutcome);
    if (!this.session) this.exchange.insist(nowUs);
  }

  /** The rest of the way of a message that still comes from another peer. */
  pass(
    message: Arriving,
    deadlineUs: number,
    onOutcome: ((outcome: "delivered" | "unknown") => void) | undefined,
    isWanted: () => boolean,
    nowUs: number,
  ): Passing {
    const { outgoing, shared } = this;
    const sent = outgoing.send(message, deadlineUs, onOutcome);
    if (!this.session) this.exchange.insist(nowUs);
    const withdraw = (): void => {
      outgoing.withdraw(sent);
      shared.wake(this);
    };
    const more = (): void => {
      if (!isWanted()) return withdraw();
      outgoing.list(sent);
      shared.wake(this);
    };
    shared.wake(this);
    return { more, withdraw };
  }

  sendUnreliable(bytes: Uint8Array, nowUs: number): void {
    this.unreliable.send(bytes);
    if (!this.session) this.exchange.insist(nowUs);
  }

  hello(nowUs: number): void {
    this.exchange.begin(true, nowUs);
    this.shared.wake(this);
  }

  /** A datagram that no current session opens names this peer: it may know an old epoch of this node. */
  handleStray(from: Endpoint, length: number, nowUs: number): void {
    // Towards an address that nobody has proved, never more bytes than came from it.
    if (!this.endpoint && length < HELLO_BYTES) return;
    this.candidate = from;
    this.exchange.begin(false, nowUs);
    this.shared.wake(this);
  }

  /** Takes an authentic hello from this peer to this node. */
  handleHello(hello: Hello, from: Endpoint, nowUs: number): void {
    const { counters, epoch } = this.shared;
    if (this.older.has(hello.senderEpoch)) {
      counters.helloOlder += 1;
      return;
    }
    counters.hellos += 1;
    if (hello.echo) {
      if (hello.receiverEpoch === epoch && this.exchange.answers(hello.echo)) {
        this.proved(hello, from, nowUs);
      } else {
        counters.helloStale += 1;
      }
    }
    if (hello.challenge) this.answer(hello, hello.challenge, from, nowUs);
    this.candidate = from;
    if (this.session?.epoch !== hello.senderEpoch) this.exchange.begin(false, nowUs);
    this.shared.wake(this);
  }

  /** The next datagram to this peer; hellos first, because what follows may need them. */
  poll(nowUs: number): OutgoingDatagram | undefined {
    const answer = this.answers.shift();
    if (answer) {
      const needsProof = answer.epoch !== this.session?.epoch;
      return this.writeHello(answer.to, answer, needsProof, nowUs);
    }
    const to = this.endpoint ?? this.candidate;
    if (to && this.exchange.isDue(nowUs)) return this.writeHello(to, undefined, true, nowUs);
    if (!this.session || !this.endpoint) return undefined;
    const bytes = this.session.poll(nowUs);
    return bytes && { to: this.endpoint, bytes };
  }

  nextTimeoutUs(nowUs: number): number {
    const hello = this.endpoint || this.candidate ? this.exchange.nextTimeoutUs() : Infinity;
    const rest = this.session ?? this.outgoing;
    return Math.min(hello, rest.nextTimeoutUs(nowUs));
  }

  handleTimeout(nowUs: number): void {
    this.outgoing.handleTimeout(nowUs);
    const { rtt } = this.outgoing.recovery;
    if (rtt.backoffs >= SILENT_TIMEOUTS && !this.exchange.challenge) {
      this.exchange.begin(false, nowUs);
    }
    this.shared.wake(this);
  }

  setKeys(): void {
    if (!this.session) return;
    this.session.setKeys(this.shared.keys());
    this.shared.opened(this.session);
  }

  close(): void {
    if (!this.session) return;
    this.shared.closed(this.session);
    this.session.close();
    this.session = undefined;
  }

  private answer(hello: Hello, echo: Uint8Array, to: Endpoint, nowUs: number): void {
    if (!this.mayAnswer(nowUs)) {
      this.shared.counters.helloLimited += 1;
      return;
    }
    this.answers.push({ to, echo, epoch: hello.senderEpoch });
  }

  private mayAnswer(nowUs: number): boolean {
    const { helloAnswersMax } = this.shared.limits;
    const more = ((nowUs - this.answersUs) * helloAnswersMax) / 1_000_000;
    this.answersLeft = Math.min(helloAnswersMax, this.answersLeft + more);
    this.answersUs = nowUs;
    if (this.answersLeft < 1 || this.answers.length >= ANSWERS_MAX) return false;
    this.answersLeft -= 1;
    return true;
  }

  private writeHello(
    to: Endpoint,
    answer: Answer | undefined,
    needsProof: boolean,
    nowUs: number,
  ): OutgoingDatagram {
    const { shared } = this;
    if (needsProof) {
      this.exchange.begin(false, nowUs);
      this.exchange.sent(nowUs);
    }
    const bytes = writeHello(shared.cipher, shared.helloKeys()[0]!, {
      worker: shared.worker,
      windowBytes: this.session?.incoming.windowBytes ?? this.firstWindow(),
      sender: shared.idBytes,
      receiver: this.idBytes,
      senderEpoch: shared.epochBytes,
      receiverEpoch: fromHex(answer?.epoch ?? this.session?.epoch ?? ""),
      challenge: needsProof ? this.exchange.challenge : undefined,
      echo: answer?.echo,
    });
    shared.counters.hellosOut += 1;
    shared.counters.datagramsOut += 1;
    shared.counters.bytesOut += bytes.length;
    return { to, bytes };
  }

  private firstWindow(): number {
    const { limits, pool } = this.shared;
    return Math.min(limits.windowBytes, Math.max(DATAGRAM_BYTES_MAX, pool.freeBytes));
  }

  private proved(hello: Hello, from: Endpoint, nowUs: number): void {
    const { shared, session: old } = this;
    const rttUs = this.exchange.rttUs(nowUs);
    if (!this.isConfigured) this.endpoint = from;
    if (old?.epoch === hello.senderEpoch) {
      if (rttUs !== undefined) this.outgoing.recovery.rtt.sample(rttUs);
      return;
    }
    const unfinished = old ? this.endSession(old) : [];
    const session = new Session(
      shared,
      { id: this.id, epoch: hello.senderEpoch, counter: this.counter },
      { outgoing: this.outgoing, unreliable: this.unreliable },
      {
        deliver: (bytes) => shared.events.message(this.id, hello.senderEpoch, bytes),
        wake: () => shared.wake(this),
        passOn: (message) => shared.passOn(this, hello.senderEpoch, message),
      },
    );
    session.setKeys(shared.keys());
    this.session = session;
    shared.opened(session);
    shared.counters.epochs += 1;
    if (rttUs !== undefined) this.outgoing.recovery.rtt.sample(rttUs);
    this.outgoing.handleWindow(hello.windowBytes);
    shared.log.write("info", "peer epoch proved", { peer: this.name, epoch: hello.senderEpoch });
    shared.events.peerEpoch(this.id, hello.senderEpoch, old?.epoch);
    for (const message of unfinished) {
      shared.counters.messagesUnknown += 1;
      message.onOutcome?.("unknown");
    }
  }

  /** Returns the messages whose outcome is now unknown. */
  private endSession(old: Session) {
    this.older.add(old.epoch);
    if (this.older.size > OLDER_EPOCHS_MAX) {
      for (const oldest of this.older) {
        this.older.delete(oldest);
        break;
      }
    }
    this.shared.closed(old);
    old.close();
    const unfinished = this.outgoing.takeAll();
    this.outgoing = new Outgoing(this.shared.limits, this.shared.counters);
    return unfinished;
  }
}
