/**
 * A classifier on a node of its own, the real one on the real core, whose forwarders, clients and transport are a few
 * lines: what a forwarder says is said to it, what it says is kept, and clients learn their SYN-ACKs.
 */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import type { PacketBatch } from "../../host/core/batch.ts";
import { createNodeCipher } from "../../host/link/cipher.ts";
import type { Link } from "../../host/link/link.ts";
import { ClassifierNode } from "../../host/node/classifiernode.ts";
import { decodeMessage, encodeMessage } from "../../host/node/codec.ts";
import { Engine } from "../../host/node/engine.ts";
import type { Message, RelayMessage } from "../../host/node/messages.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";
import type { NodeId, SendOptions, Transport } from "../../host/transport/transport.ts";
import { SYN, buildTcp, parseTcp, toAddress, type TcpFields } from "../support/packet.ts";

const wasm = readFileSync(new URL("../../core.wasm", import.meta.url));
const [SELF, A, B, BACKEND] = ["c", "a", "b", "1"].map((digit) => digit.repeat(16)) as [
  NodeId,
  NodeId,
  NodeId,
  NodeId,
];
export { A, B, BACKEND };
export const SERVICE = "10.0.0.100";
const EPOCHS = new Map([A, B].map((id) => [id, id + id]));

/** Somebody who connects through a forwarder: what it sent last, and what it was answered. */
export interface Client {
  readonly forwarder: NodeId;
  readonly address: string;
  readonly port: number;
  readonly iss: number;
  answer: number | undefined;
}

export class Stage {
  us = 1_000_000;
  readonly sent: { to: NodeId; message: Message; options: SendOptions | undefined }[] = [];
  /** Relayed packets that it sent back. */
  readonly returned: { to: NodeId; message: RelayMessage }[] = [];
  /** Packets relayed so far. */
  readonly relayed = new Map<NodeId, number>();
  readonly core: Core;
  readonly role: ClassifierNode;
  readonly #engine: Engine;
  readonly #clients = new Map<string, Client>();

  constructor() {
    const clock = { nowUs: () => this.us, wallMs: () => this.us / 1000 };
    const secrets = {
      hashSecret: new Uint8Array(16).fill(1),
      isnSecret: new Uint8Array(16).fill(2),
    };
    this.core = new Core(wasm, { ...SMALL_PARAMETERS, ...secrets, wallMs: 1 }, this.us);
    this.core.setTunnel(toAddress("10.9.0.9"));
    for (const peer of [1, 2]) this.core.setPeer(peer, toAddress(`10.9.0.${peer}`));
    this.core.addService(toAddress(SERVICE), 80, 0, true);
    const send = (to: NodeId, bytes: Uint8Array, options?: SendOptions): void => {
      const message = decodeMessage(bytes);
      assert.is.not(message.type, "malformed");
      if (message.type === "relay") this.returned.push({ to, message });
      else if (message.type !== "malformed") this.sent.push({ to, message, options });
    };
    const transport = {
      epoch: "e".repeat(32),
      hello: () => undefined,
      send,
      sendUnreliable: send,
      pollDatagram: () => undefined,
      nextTimeoutUs: () => Infinity,
    } as unknown as Transport;
    const link = {
      drained: true,
      receive: () => 0,
      transmit: (batch: PacketBatch, index: number) => this.#transmit(batch, index),
      flush: () => undefined,
    } as unknown as Link;
    const none = { receiveDatagrams: () => false, sendDatagrams: () => undefined };
    this.#engine = new Engine({ core: this.core, clock, link, transport, ...none });
    const rules = { backends: ["b1"], pools: [], routes: ["default -> b1"] };
    this.role = new ClassifierNode({
      id: SELF,
      core: this.core,
      clock,
      cipher: createNodeCipher(),
      transport,
      log: { write: () => undefined },
      wake: () => undefined,
      inject: () => this.#engine.inject(),
      router: createRouter(parseRouting(rules)),
      forwarders: [A, B],
      backends: [{ name: "b1", id: BACKEND }],
      connectionsMax: SMALL_PARAMETERS.connectionsMax,
      mtu: 1500,
    });
    this.#engine.setRole(this.role);
    for (const forwarder of [A, B]) this.role.peerEpoch(forwarder, epochOf(forwarder));
    const usable = { node: BACKEND, usable: true, mayReturn: true, load: 0 };
    this.tell(A, { type: "census", items: [usable] });
    this.turn();
  }

  tell(forwarder: NodeId, message: Message): void {
    this.role.message(forwarder, epochOf(forwarder), encodeMessage(message));
  }

  /** Says something to it that the forwarder relayed as its `order`th packet: as the next one without. */
  relay(forwarder: NodeId, packet: Uint8Array, order = this.next(forwarder)): void {
    const message = { type: "relay", asked: 0, isOvertaken: false, hint: undefined } as const;
    this.tell(forwarder, { ...message, order, packet });
  }

  /** The number of what a forwarder relays now: it may be heard later. */
  next(forwarder: NodeId): number {
    const order = (this.relayed.get(forwarder) ?? 0) + 1;
    this.relayed.set(forwarder, order);
    return order;
  }

  turn(us = 1_000): void {
    this.us += us;
    while (this.#engine.turn());
  }

  client(forwarder: NodeId, index: number): Client {
    const address = `10.2.${index >> 8}.${index & 255}`;
    const client = { forwarder, address, port: 30_000, iss: index, answer: undefined };
    this.#clients.set(address, client);
    return client;
  }

  say(client: Client, fields: Partial<TcpFields>, order?: number): void {
    const ends = { source: client.address, sourcePort: client.port, destinationPort: 80 };
    const packet = buildTcp({ ...ends, destination: SERVICE, seq: client.iss, ...fields });
    this.relay(client.forwarder, packet, order);
  }

  /** Connections of which a message says something, and to whom. */
  told(type: "reserve" | "release"): { to: NodeId; address: string }[] {
    return this.sent.flatMap(({ to, message }) => {
      if (message.type !== type) return [];
      const tuples = message.type === "reserve" ? [message] : message.items;
      return tuples.map(({ tuple }) => ({ to, address: [...tuple.remote].join(".") }));
    });
  }

  #transmit(batch: PacketBatch, index: number): boolean {
    const ptr = batch.ptr(index);
    const [second = 0] = batch.memory.subarray(ptr + 17, ptr + 18);
    if (second !== 2) return true; // An answer to the flood.
    const { destination, flags, seq } = parseTcp(batch.memory.slice(ptr, ptr + batch.len(index)));
    const client = this.#clients.get(destination);
    if (client && (flags & SYN) !== 0) client.answer = seq;
    return true;
  }
}

export function epochOf(forwarder: NodeId): string {
  return EPOCHS.get(forwarder) ?? "";
}
