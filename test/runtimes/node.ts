/**
 * One recorded instance and its link: starts it, gives it packets, takes what it sends. Knows offsets of the
 * structures it fills; must not know the scene that is played.
 */
import { constant, enumValue, type CoreModule } from "../../host/core/module.ts";
import type { Tuple } from "../../host/core/tuple.ts";
import { writeTuple } from "../../host/core/tuple.ts";
import { Recorder, type Place } from "./recorder.ts";

/** Sizes of an instance that an interpreter starts in no time. */
const SIZES = {
  CONNECTIONS_MAX: 16,
  TIME_WAIT_MAX: 16,
  HALF_OPEN_MAX: 8,
  MAPPINGS4_MAX: 64,
  MAPPINGS6_MAX: 64,
  RECORDS_MAX: 64,
  EARLY_BYTES_MAX: 16_384,
  EARLY_FLOWS_MAX: 8,
  BUFFER_BYTES: 262_144,
  SLOT_BYTES: 2048,
  BLOB_BYTES: 65_536,
  MTU: 1500,
};
/** 2026-01-01, so that timestamp offsets are the same in every run. */
const WALL_MS = 1_767_225_600_000;

export class RecordedNode {
  readonly record: Recorder;
  readonly #module: CoreModule;
  readonly #descriptorSize: number;
  readonly #slots = new Set<string>();

  constructor(module: CoreModule) {
    this.#module = module;
    this.record = new Recorder(module);
    this.#descriptorSize = constant(module, "DESCRIPTOR_SIZE");
  }

  start(secret: number, nowUs: number): void {
    const { record } = this;
    record.note("Parameters, then the one growth of memory");
    record.get("parameters", "parametersPtr");
    for (const [name, value] of Object.entries(SIZES)) {
      record.writeU32(at("parameters", this.#enum("ParameterOff", name)), value);
    }
    record.write(at("parameters", this.#enum("ParameterOff", "WALL_MS")), float64(WALL_MS));
    const secrets = new Uint8Array(32).fill(secret, 0, 16).fill(0x77, 16);
    record.write(at("parameters", this.#enum("ParameterOff", "HASH_SECRET")), secrets);
    this.must("init", { f: nowUs });
    for (const name of ["tuple", "span", "event", "mapping", "application", "blob", "counters"]) {
      record.get(name, `${name}Ptr`);
    }
    record.get("rx", "rxBatchPtr");
    record.get("tx", "txBatchPtr");
    record.load("rx0", at("rx", this.#enum("DescriptorOff", "PTR")));
  }

  /** Calls `exported` with a family and an address, which it puts where a tuple has its remote one. */
  address(exported: string, before: readonly number[], address: Uint8Array, after: number[]): void {
    const place = at("tuple", 8);
    const padded = new Uint8Array(16);
    padded.set(address);
    this.record.write(place, padded);
    const family = address.length === 4 ? 4 : 6;
    const numbers = (list: readonly number[]): { i: number }[] => list.map((i) => ({ i }));
    this.must(exported, ...numbers([...before, family]), place, ...numbers(after));
  }

  tuple(tuple: Tuple): void {
    const bytes = new Uint8Array(40);
    writeTuple(bytes, new DataView(bytes.buffer), 0, tuple);
    this.record.write(at("tuple", 0), bytes);
  }

  /** A packet from the link; the packet to write if the verdict is TRANSMIT. */
  receive(packet: Uint8Array, nowUs: number, expected: "CONSUMED" | "TRANSMIT"): Uint8Array {
    const { record } = this;
    record.write(at("rx0", 0), packet);
    record.writeU32(at("rx", this.#enum("DescriptorOff", "LEN")), packet.length);
    record.call("handlePackets", { i: 1 }, { f: nowUs });
    const [verdict] = record.read(at("rx", this.#enum("DescriptorOff", "VERDICT")), 2);
    if (verdict !== this.#enum("Verdict", expected)) {
      throw new Error(`expected ${expected}, got verdict ${verdict}`);
    }
    return expected === "TRANSMIT" ? record.read(at("rx0", 0), packet.length) : packet;
  }

  /** Everything that the stack wants to send now. */
  transmit(nowUs: number): Uint8Array[] {
    const packets: Uint8Array[] = [];
    for (;;) {
      const count = this.record.call("pollTransmit", { f: nowUs });
      if (count === 0) return packets;
      for (let index = 0; index < count; index++) packets.push(this.#sent(index));
    }
  }

  /** Types of the events that wait, in order; each is read whole. */
  events(): number[] {
    const types: number[] = [];
    while (this.record.call("pollEvent") === 1) {
      const [type = 0] = this.record.read(at("event", 0), constant(this.#module, "EVENT_SIZE"));
      types.push(type);
    }
    return types;
  }

  /** All unread bytes, and consumes them. */
  readAll(handle: number, nowUs: number): Uint8Array {
    const parts: Uint8Array[] = [];
    for (;;) {
      const len = this.record.call("readable", { i: handle }, { i: 0 });
      if (len === 0) return Uint8Array.from(parts.flatMap((part) => [...part]));
      this.record.load("received", at("span", 0));
      parts.push(this.record.read(at("received", 0), len));
      this.must("consume", { i: handle }, { i: len }, { f: nowUs });
    }
  }

  writeAll(handle: number, bytes: Uint8Array, nowUs: number): void {
    for (let done = 0; done < bytes.length;) {
      const len = Math.min(this.record.call("reserve", { i: handle }), bytes.length - done);
      if (len === 0) throw new Error("the send buffer is full");
      this.record.load("free", at("span", 0));
      this.record.write(at("free", 0), bytes.subarray(done, done + len));
      this.must("commit", { i: handle }, { i: len }, { f: nowUs });
      done += len;
    }
  }

  /** A call that must not fail. */
  must(
    exported: string,
    ...args: Parameters<Recorder["call"]> extends [string, ...infer A] ? A : never
  ): number {
    const result = this.record.call(exported, ...args);
    if (result < 0) throw new Error(`${exported}: ${result}`);
    return result;
  }

  #sent(index: number): Uint8Array {
    const base = index * this.#descriptorSize;
    const slot = `tx${index}`;
    if (!this.#slots.has(slot)) {
      this.record.load(slot, at("tx", base + this.#enum("DescriptorOff", "PTR")));
      this.#slots.add(slot);
    }
    const len = this.record.read(at("tx", base + this.#enum("DescriptorOff", "LEN")), 4);
    return this.record.read(at(slot, 0), new DataView(len.buffer).getUint32(0, true));
  }

  #enum(group: string, name: string): number {
    return enumValue(this.#module, group, name);
  }
}

export function at(name: string, off: number): Place {
  return { name, off };
}

function float64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return bytes;
}
