/**
 * How a role sends messages: to other nodes through the transport, to itself on a later turn. Knows
 * addressing and the codec; must not know what a message does.
 */
import type { Epoch, NodeId, Outcome, SendOptions, Transport } from "../transport/transport.ts";
import { decodeMessage, encodeMessage, MESSAGE_FORMAT } from "./codec.ts";
import type { Log } from "./environment.ts";
import type { Message } from "./messages.ts";

/** Messages that may be lost: TCP above them retransmits, or the next one says the same. */
const UNRELIABLE: ReadonlySet<Message["type"]> = new Set([
  "handback",
  "relay",
  "icmp",
  "heartbeat",
  "progress",
  "census",
]);

/**
 * A SYN that TIME-WAIT admitted takes the only copy of the old connection's numbers along, back to the forwarder and on
 * to a classifier: the client would send it again, but then it would be answered without them.
 */
function mayBeLost(message: Message): boolean {
  if ((message.type === "handback" || message.type === "relay") && message.hint) return false;
  return UNRELIABLE.has(message.type);
}

/** Local deliveries in one go; more mean that two rooms answer each other for ever. */
const LOCAL_MAX = 1_000_000;

interface Letter {
  readonly message: Message;
  readonly onOutcome: ((outcome: Outcome) => void) | undefined;
}

export class Postbox {
  /** `foreign`: of a node whose version has another format of messages. */
  readonly counters = { sent: 0, received: 0, local: 0, malformed: 0, foreign: 0 };
  readonly #self: NodeId;
  readonly #transport: Transport;
  readonly #wake: () => void;
  readonly #log: Log;
  /** The format that each node last spoke, when it is not ours. */
  readonly #foreign = new Map<NodeId, number>();
  #letters: Letter[] = [];

  constructor(self: NodeId, transport: Transport, wake: () => void, log: Log) {
    this.#self = self;
    this.#transport = transport;
    this.#wake = wake;
    this.#log = log;
  }

  /** Whether a local message waits for `deliver`. */
  get isWaiting(): boolean {
    return this.#letters.length > 0;
  }

  send(node: NodeId, message: Message, options: SendOptions = {}): void {
    if (node === this.#self) {
      this.#letters.push({ message, onOutcome: options.onOutcome });
      this.#wake();
      return;
    }
    this.counters.sent++;
    const bytes = encodeMessage(message);
    if (mayBeLost(message)) this.#transport.sendUnreliable(node, bytes);
    else this.#transport.send(node, bytes, options);
  }

  /** Passes an encoded message on to another node as it is. */
  pass(node: NodeId, bytes: Uint8Array, options: SendOptions): void {
    this.counters.sent++;
    this.#transport.send(node, bytes.slice(), options);
  }

  /** Hands out local messages, and those they cause, in order. */
  deliver(take: (node: NodeId, epoch: Epoch, message: Message) => void): void {
    for (let count = 0; this.#letters.length > 0; count++) {
      if (count > LOCAL_MAX) throw new Error("local messages never end");
      const letters = this.#letters;
      this.#letters = [];
      for (const { message, onOutcome } of letters) {
        this.counters.local++;
        take(this.#self, this.#transport.epoch, message);
        onOutcome?.("delivered");
      }
    }
  }

  /** A message of another node; undefined and counted when it is none, or not for this version. */
  open(bytes: Uint8Array, from: NodeId): Message | undefined {
    this.counters.received++;
    const message = decodeMessage(bytes);
    if (message.type !== "malformed") {
      this.#foreign.delete(from);
      return message;
    }
    if (message.reason === "format") this.#refuse(from, bytes[1] ?? 0);
    else this.counters.malformed++;
    return undefined;
  }

  /** Said once for each node and format: its heartbeats come four times a second. */
  #refuse(from: NodeId, format: number): void {
    this.counters.foreign++;
    if (this.#foreign.get(from) === format) return;
    this.#foreign.set(from, format);
    const text = `ERR_BATON_VERSION: messages: expected format ${MESSAGE_FORMAT}, got ${format}`;
    this.#log.write("error", `${text}: no connection moves to or from this node`, { node: from });
  }
}
