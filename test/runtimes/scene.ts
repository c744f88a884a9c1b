/**
 * The scene that every runtime plays: a client opens a connection at a forwarder, sends a request, the
 * connection is compiled to a blob there and infused at a backend, which answers, loses a segment on the way,
 * and closes. The client is a third instance and is not recorded: its packets stand in the files.
 */
import { parseAddress } from "../../host/core/address.ts";
import { Core } from "../../host/core/core.ts";
import { enumValue, instantiateCore, type CoreModule } from "../../host/core/module.ts";
import { SMALL_PARAMETERS } from "../../host/core/parameters.ts";
import type { Tuple } from "../../host/core/tuple.ts";
import { at, RecordedNode } from "./node.ts";

export interface Scene {
  /** What is played at the forwarder and at the backend; the first keeps what the second is given. */
  readonly forwarder: string;
  readonly backend: string;
  readonly blob: Uint8Array;
}

const ADDRESSES = {
  4: {
    client: "192.0.2.1",
    service: "203.0.113.80",
    forwarder: "198.51.100.1",
    backend: "198.51.100.2",
  },
  6: {
    client: "2001:db8::1",
    service: "2001:db8:80::80",
    forwarder: "2001:db8:f::1",
    backend: "2001:db8:f::2",
  },
};
const PORT = 80;
const PEER = 1;
const FLOW = 0x1234_5678;
const STEP_US = 10_000;
const RESPONSE = new TextEncoder().encode(
  `HTTP/1.1 200 OK\r\nContent-Length: 6000\r\n\r\n${"live connections move. ".repeat(300).slice(0, 6000)}`,
);
const REQUEST = ["GET /first HTTP/1.1\r\nHost: ", "api.example\r\n\r\n"];
const PIPELINED = "GET /second HTTP/1.1\r\nHost: api.example\r\n\r\n";
const TIME_WAIT_US = 70_000_000;

export function play(wasm: Uint8Array, family: 4 | 6): Scene {
  const addresses = ADDRESSES[family];
  const bytes = (name: keyof typeof addresses): Uint8Array => {
    const parsed = parseAddress(addresses[name]);
    if (!parsed) throw new Error(`${addresses[name]} is no address`);
    return parsed;
  };
  const module = instantiateCore(wasm);
  const event = (name: string): number => enumValue(module, "EventType", name);
  const forwarder = new RecordedNode(module);
  const backend = new RecordedNode(instantiateCore(wasm));
  const client = new Client(wasm, bytes("client"), bytes("service"), family);
  const file = `blob${family}`;
  let now = 1_000_000;

  forwarder.start(0x11, now);
  forwarder.record.note(
    "its tunnel address, the backend's, and a service that it accepts connections for",
  );
  forwarder.address("tunnelSet", [], bytes("forwarder"), []);
  forwarder.address("peerSet", [PEER], bytes("backend"), []);
  forwarder.address("serviceAdd", [], bytes("service"), [
    PORT,
    0,
    enumValue(module, "ServiceFlag", "LISTEN"),
  ]);

  forwarder.record.note("the client's SYN, our SYN-ACK, its ACK");
  for (const packet of client.open(now)) forwarder.receive(packet, now, "CONSUMED");
  const synAck = forwarder.transmit(now);
  now += STEP_US;
  const ack = synAck.flatMap((packet) => client.receive(packet, now));
  for (const packet of ack) forwarder.receive(packet, now, "CONSUMED");
  mustBe(forwarder.events(), [event("ACCEPTED")]);
  const handle = readHandle(module, forwarder);

  forwarder.record.note("a request in two segments");
  for (const part of REQUEST) {
    now += STEP_US;
    for (const packet of client.write(part, now)) forwarder.receive(packet, now, "CONSUMED");
    for (const packet of forwarder.transmit(now)) client.receive(packet, now);
  }
  forwarder.events();
  const length = forwarder.record.call("readable", { i: handle }, { i: 0 });
  forwarder.record.load("received", at("span", 0));
  forwarder.record.read(at("received", 0), length);

  forwarder.record.note(
    "compile the connection, with three bytes of the application's own, to a blob",
  );
  forwarder.must("freeze", { i: handle });
  forwarder.record.write(at("application", 0), Uint8Array.of(1, 2, 3));
  forwarder.record.write(at("mapping", 0), mapping(module));
  const blobLength = forwarder.must("compile", { i: handle }, { f: now });
  forwarder.record.read(at("blob", 0), blobLength);
  const blob = forwarder.record.keep(file, at("blob", 0), blobLength);

  forwarder.record.note("from now on its packets are encapsulated to the backend");
  forwarder.tuple(tupleOf(bytes("client"), client.port, bytes("service"), family));
  forwarder.must(
    "mapSet",
    { i: enumValue(module, "MapAction", "FORWARD") },
    { i: PEER },
    { i: FLOW },
  );
  forwarder.must("discard", { i: handle });
  now += STEP_US;
  const forward = (packets: readonly Uint8Array[]): Uint8Array[] =>
    packets.map((packet) => forwarder.receive(packet, now, "TRANSMIT"));
  const early = forward(client.write(PIPELINED, now));

  backend.start(0x11, now);
  backend.record.note("its tunnel address and the forwarder's");
  backend.address("tunnelSet", [], bytes("backend"), []);
  backend.address("peerSet", [PEER], bytes("forwarder"), []);
  backend.record.note("a packet that comes before its connection is held");
  for (const packet of early) backend.receive(packet, now, "CONSUMED");
  backend.record.note("the blob, made by whatever runtime played the forwarder");
  backend.record.give(file, at("blob", 0), blob);
  backend.must("unbundle", { i: blobLength });
  backend.record.read(at("mapping", 0), mapping(module).length);
  backend.record.read(at("application", 0), 3);
  const infused = backend.must("infuse", { i: blobLength }, { i: PEER }, { f: now });
  backend.events();
  const received = new TextDecoder().decode(backend.readAll(infused, now));
  if (received !== REQUEST.join("") + PIPELINED) throw new Error(`the backend read ${received}`);

  backend.record.note("the response; the client never gets its second segment");
  backend.writeAll(infused, RESPONSE, now);
  backend.must("shutdown", { i: infused }, { f: now });
  let sent = 0;
  const types: number[] = [];
  const exchange = (): void => {
    for (let packets = backend.transmit(now); packets.length > 0; packets = backend.transmit(now)) {
      now += STEP_US;
      const arrived = packets.filter(() => sent++ !== 1);
      const answers = forward(arrived.flatMap((packet) => client.receive(packet, now)));
      for (const packet of answers) backend.receive(packet, now, "CONSUMED");
      types.push(...backend.events());
    }
  };
  exchange();
  for (let rounds = 0; !client.isEnded; rounds++) {
    if (rounds > 20) throw new Error("the response never arrives");
    const next = backend.record.call("nextTimeoutUs");
    now = Math.max(now, next);
    backend.must("handleTimeout", { f: now });
    exchange();
  }
  if (client.text() !== new TextDecoder().decode(RESPONSE))
    throw new Error("the client read another response");

  backend.record.note("the client closes; the 4-tuple is free after TIME-WAIT");
  for (const packet of forward(client.close(now))) backend.receive(packet, now, "CONSUMED");
  for (const packet of backend.transmit(now)) client.receive(packet, now);
  types.push(...backend.events());
  now += TIME_WAIT_US;
  backend.must("handleTimeout", { f: now });
  types.push(...backend.events());
  mustBe(types.slice(-2), [event("CLOSED"), event("RELEASED")]);
  return { forwarder: forwarder.record.text(), backend: backend.record.text(), blob };
}

/** The event was read by the recorder: its handle is the second word. */
function readHandle(module: CoreModule, node: RecordedNode): number {
  const place = at("event", enumValue(module, "EventOff", "HANDLE"));
  return new DataView(node.record.read(place, 4).buffer).getUint32(0, true);
}

function mapping(module: CoreModule): Uint8Array {
  const off = (name: string): number => enumValue(module, "MappingOff", name);
  const bytes = new Uint8Array(module.numbers["MAPPING_SIZE"] ?? 0);
  const view = new DataView(bytes.buffer);
  view.setUint32(off("FLOW"), FLOW, true);
  view.setUint32(off("GENERATION"), 1, true);
  bytes.fill(0xf1, off("FORWARDER"), off("SOURCE"));
  bytes.fill(0xf1, off("SOURCE"), off("FORWARDER_EPOCH"));
  bytes.fill(0xe1, off("FORWARDER_EPOCH"), off("SOURCE_EPOCH"));
  bytes.fill(0xe1, off("SOURCE_EPOCH"), off("TARGET_EPOCH"));
  bytes.fill(0xe2, off("TARGET_EPOCH"), off("TUNNELS"));
  view.setUint32(off("APPLICATION_LEN"), 3, true);
  return bytes;
}

function tupleOf(remote: Uint8Array, remotePort: number, local: Uint8Array, family: 4 | 6): Tuple {
  return { family, remote, remotePort, local, localPort: PORT };
}

function mustBe(found: readonly number[], expected: readonly number[]): void {
  if (found.join() !== expected.join())
    throw new Error(`events ${found.join()}, not ${expected.join()}`);
}

/** The client: an instance of the core that opens a connection. */
class Client {
  readonly port = 40_000;
  readonly #core: Core;
  readonly #tuple: Tuple;
  readonly #received: number[] = [];
  #handle = 0;
  #isEnded = false;

  constructor(wasm: Uint8Array, own: Uint8Array, service: Uint8Array, family: 4 | 6) {
    const secret = new Uint8Array(16).fill(0x33);
    const secrets = { hashSecret: secret, isnSecret: secret, wallMs: 1_767_225_600_000 };
    this.#core = new Core(wasm, { ...SMALL_PARAMETERS, ...secrets }, 1);
    // Its own stack is the "service" of this instance: packets to it are its own.
    this.#core.addService(own, this.port, 0, false);
    this.#tuple = { family, remote: service, remotePort: PORT, local: own, localPort: this.port };
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  text(): string {
    return new TextDecoder().decode(Uint8Array.from(this.#received));
  }

  open(nowUs: number): Uint8Array[] {
    this.#handle = this.#core.connect(this.#tuple, nowUs);
    return this.#sent(nowUs);
  }

  write(text: string, nowUs: number): Uint8Array[] {
    const bytes = new TextEncoder().encode(text);
    const span = this.#core.reserve(this.#handle);
    this.#core.memory.set(bytes, span.ptr);
    this.#core.commit(this.#handle, bytes.length, nowUs);
    return this.#sent(nowUs);
  }

  receive(packet: Uint8Array, nowUs: number): Uint8Array[] {
    this.#core.rx.place(0, packet);
    this.#core.handlePackets(1, nowUs);
    for (let event = this.#core.pollEvent(); event; event = this.#core.pollEvent()) {
      if (event.kind === "ended") this.#isEnded = true;
      if (event.kind === "closed" && event.code !== 0)
        throw new Error(`the client was closed: ${event.code}`);
    }
    for (;;) {
      const span = this.#core.readable(this.#handle, 0);
      if (span.len === 0) break;
      this.#received.push(...this.#core.memory.subarray(span.ptr, span.ptr + span.len));
      this.#core.consume(this.#handle, span.len, nowUs);
    }
    return this.#sent(nowUs);
  }

  close(nowUs: number): Uint8Array[] {
    this.#core.shutdown(this.#handle, nowUs);
    return this.#sent(nowUs);
  }

  #sent(nowUs: number): Uint8Array[] {
    const packets: Uint8Array[] = [];
    for (
      let count = this.#core.pollTransmit(nowUs);
      count > 0;
      count = this.#core.pollTransmit(nowUs)
    ) {
      for (let index = 0; index < count; index++) {
        const ptr = this.#core.tx.ptr(index);
        packets.push(this.#core.memory.slice(ptr, ptr + this.#core.tx.len(index)));
      }
    }
    return packets;
  }
}
