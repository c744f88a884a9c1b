/**
 * The steering program of a TUN device with several queues: which queue a packet goes to, by the client's address and
 * port. Knows headers as far as a TCP port; must not know services, connections, nor who reads a queue. The table of
 * what goes where is in docs/queues.md. TUNSETSTEERINGEBPF; RFC 791, 8200 4 (extension headers), 792 and 4443 (errors).
 *
 * r6 the packet, r8 where the next header begins, r9 which header that is; r2 the hash, r3 the port.
 */
import {
  add,
  addAtomic,
  addRegister,
  assemble,
  call,
  compute,
  compute32,
  computeRegister32,
  exit,
  jump,
  jumpIf,
  label,
  load,
  loadMap,
  move,
  set,
  store,
  type Instruction,
  type Register,
} from "./assembler.ts";
import { createMap, MapType, readMap } from "./bpf.ts";
import { MAP_LOOKUP } from "./frame.ts";

export interface Queues {
  /** Own addresses of each queue's reader, by queue: 4 or 16 bytes each. */
  readonly tunnels: readonly (readonly Uint8Array[])[];
  /** The hash's key, 8 bytes: the same as long as flows shall stay where they are. */
  readonly key: Uint8Array;
}

/** Packets that went to queue 0 because nothing in them names a client. */
export interface UnsteeredCounters {
  readonly fragments: number;
  readonly unreadable: number;
}

/** IPv4's protocol for experiments (RFC 3692): a reader's probe of its own queue. */
export const PROBE_PROTOCOL = 253;

const SKB_LOAD_BYTES = 26;
const EXTENSION_HEADERS_MAX = 8;
const Next = { HOP_BY_HOP: 0, ICMP: 1, TCP: 6, ROUTING: 43, FRAGMENT: 44, ICMP6: 58, OPTIONS: 60 };
/** Fields as a little-endian load sees them: more fragments or an offset; an offset alone; the same of IPv6. */
const FRAGMENT4 = 0xff3f;
const OFFSET4 = 0xff1f;
const FRAGMENT6 = 0xf9ff;

/** Places on the stack: the packet's IP header, the quoted one, an extension header, ports, a map's key. */
const OUTER = -48;
const QUOTED = -88;
const EXTENSION = -96;
const PORTS = -104;
const KEY = -112;

const HEADER4 = 20;
const HEADER6 = 40;
const ICMP_BYTES = 8;
const ERRORS4 = [3, 11, 12];
const ERRORS6 = [1, 2, 3, 4];

const COUNTER_BYTES = 8;
const Counter = { UNREADABLE: 0, FRAGMENTS: 1 } as const;

/** The map that the program counts in. */
export function createCounters(): number {
  return createMap(MapType.ARRAY, 4, COUNTER_BYTES, Object.keys(Counter).length);
}

export function readCounters(map: number): UnsteeredCounters {
  const read = (key: number): number => {
    const bytes = readMap(map, new Uint8Array(Uint32Array.of(key).buffer), COUNTER_BYTES);
    return Number(new DataView(bytes.buffer).getBigUint64(0, true));
  };
  return { fragments: read(Counter.FRAGMENTS), unreadable: read(Counter.UNREADABLE) };
}

/** The program for a device with as many queues as `tunnels` has rows. */
export function queueProgram(queues: Queues, counters: number): Uint8Array {
  const { tunnels, key } = queues;
  const seeds = new DataView(key.buffer, key.byteOffset, 8);
  const hash = (address: number, words: number, port: number): Instruction[] => [
    set(2, seeds.getInt32(0, true)),
    ...[...Array(words).keys()].flatMap((word) => absorb(address + 4 * word)),
    load(2, 3, 10, port),
    jump("mix"),
  ];
  return assemble([
    move(6, 1),
    ...fetch(OUTER, HEADER4),
    load(1, 5, 10, OUTER),
    compute(5, "shiftRight", 4),
    jumpIf(5, "equal", 4, "ipv4"),
    jumpIf(5, "notEqual", 6, "unreadable"),
    ...ipv6(tunnels),
    label("tcp6"),
    ...fetch(PORTS, 2, 8),
    ...hash(OUTER + 8, 4, PORTS),
    label("error6"),
    ...quoted6(),
    ...hash(QUOTED + 24, 4, PORTS + 2),
    label("ipv4"),
    ...ipv4(tunnels),
    label("tcp4"),
    ...fetch(PORTS, 2, 8),
    ...hash(OUTER + 12, 1, PORTS),
    label("error4"),
    ...quoted4(),
    ...hash(QUOTED + 16, 1, PORTS + 2),
    label("mix"),
    ...mix(seeds.getInt32(4, true), tunnels.length),
    ...tunnels.flatMap((_, queue) => [label(`queue ${queue}`), set(0, queue), exit()]),
    label("fragment"),
    set(5, Counter.FRAGMENTS),
    jump("count"),
    label("unreadable"),
    set(5, Counter.UNREADABLE),
    label("count"),
    ...count(counters),
  ]);
}

/** To a reader's own address; TCP; an error; a probe. */
function ipv4(tunnels: Queues["tunnels"]): Instruction[] {
  return [
    load(2, 5, 10, OUTER + 6),
    compute(5, "and", FRAGMENT4),
    jumpIf(5, "notEqual", 0, "fragment"),
    load(4, 5, 10, OUTER + 16),
    ...tunnels.flatMap((addresses, queue) =>
      addresses
        .filter(({ length }) => length === 4)
        .map((address) => jumpIf(5, "equal", wordOf(address, 0), `queue ${queue}`)),
    ),
    ...headerLength(OUTER, "ipv4 options"),
    load(1, 5, 10, OUTER + 9),
    jumpIf(5, "equal", Next.TCP, "tcp4"),
    jumpIf(5, "equal", Next.ICMP, "icmp4"),
    jumpIf(5, "notEqual", PROBE_PROTOCOL, "unreadable"),
    load(4, 5, 10, OUTER + 12),
    jumpIf(5, "notEqual", 0, "unreadable"),
    load(1, 0, 10, OUTER + 5),
    exit(),
    label("icmp4"),
    ...fetch(PORTS, 1, 8),
    load(1, 5, 10, PORTS),
    ...ERRORS4.map((type) => jumpIf(5, "equal", type, "error4")),
    jump("unreadable"),
  ];
}

/** r8: the ICMP header. Afterwards the ports of the packet that it quotes are there. */
function quoted4(): Instruction[] {
  return [
    add(8, ICMP_BYTES),
    ...fetch(QUOTED, HEADER4, 8),
    load(1, 5, 10, QUOTED),
    compute(5, "shiftRight", 4),
    jumpIf(5, "notEqual", 4, "unreadable"),
    load(2, 5, 10, QUOTED + 6),
    compute(5, "and", OFFSET4),
    jumpIf(5, "notEqual", 0, "unreadable"),
    load(1, 5, 10, QUOTED + 9),
    jumpIf(5, "notEqual", Next.TCP, "unreadable"),
    move(7, 8),
    ...headerLength(QUOTED, "quoted options"),
    addRegister(8, 7),
    ...fetch(PORTS, 4, 8),
  ];
}

/** r8 := bytes of the IPv4 header on the stack. */
function headerLength(header: number, name: string): Instruction[] {
  return [
    load(1, 8, 10, header),
    compute(8, "and", 15),
    compute(8, "shiftLeft", 2),
    jumpIf(8, "above64", HEADER4 - 1, name),
    jump("unreadable"),
    label(name),
  ];
}

function ipv6(tunnels: Queues["tunnels"]): Instruction[] {
  return [
    ...fetch(OUTER, HEADER6),
    ...tunnels.flatMap((addresses, queue) =>
      addresses
        .filter(({ length }) => length === 16)
        .flatMap((address) => ownAddress6(address, queue)),
    ),
    load(1, 9, 10, OUTER + 6),
    set(8, HEADER6),
    ...walk("header"),
    jumpIf(9, "equal", Next.TCP, "tcp6"),
    jumpIf(9, "notEqual", Next.ICMP6, "unreadable"),
    ...fetch(PORTS, 1, 8),
    load(1, 5, 10, PORTS),
    ...ERRORS6.map((type) => jumpIf(5, "equal", type, "error6")),
    jump("unreadable"),
  ];
}

function ownAddress6(address: Uint8Array, queue: number): Instruction[] {
  const other = `not queue ${queue}`;
  const words = [3, 2, 1, 0].flatMap((word) => [
    load(4, 5, 10, OUTER + 24 + 4 * word),
    jumpIf(5, "notEqual", wordOf(address, word), other),
  ]);
  return [...words, jump(`queue ${queue}`), label(other)];
}

function quoted6(): Instruction[] {
  return [
    add(8, ICMP_BYTES),
    ...fetch(QUOTED, HEADER6, 8),
    load(1, 5, 10, QUOTED),
    compute(5, "shiftRight", 4),
    jumpIf(5, "notEqual", 6, "unreadable"),
    load(1, 9, 10, QUOTED + 6),
    add(8, HEADER6),
    ...walk("quoted"),
    jumpIf(9, "notEqual", Next.TCP, "unreadable"),
    ...fetch(PORTS, 4, 8),
  ];
}

/** Past extension headers, as assembly/wire/ip.ts walks: r8 and r9 are the first other header's afterwards. */
function walk(name: string): Instruction[] {
  const steps = [...Array(EXTENSION_HEADERS_MAX).keys()].flatMap((step) => {
    const at = (what: string): string => `${name} ${step} ${what}`;
    const skipped = [Next.ROUTING, Next.OPTIONS, ...(step === 0 ? [Next.HOP_BY_HOP] : [])];
    return [
      jumpIf(9, "equal", Next.FRAGMENT, at("fragment")),
      ...skipped.map((next) => jumpIf(9, "equal", next, at("options"))),
      jump(`${name} end`),
      label(at("fragment")),
      ...fetch(EXTENSION, 8, 8),
      load(2, 5, 10, EXTENSION + 2),
      compute(5, "and", FRAGMENT6),
      jumpIf(5, "notEqual", 0, "fragment"),
      set(5, 8),
      jump(at("next")),
      label(at("options")),
      ...fetch(EXTENSION, 8, 8),
      load(1, 5, 10, EXTENSION + 1),
      add(5, 1),
      compute(5, "shiftLeft", 3),
      label(at("next")),
      load(1, 9, 10, EXTENSION),
      addRegister(8, 5),
    ];
  });
  return [...steps, jump("unreadable"), label(`${name} end`)];
}

/** `length` bytes of the packet to the stack at `to`: from its beginning, or from where a register says. */
function fetch(to: number, length: number, from?: Register): Instruction[] {
  return [
    move(1, 6),
    from === undefined ? set(2, 0) : move(2, from),
    move(3, 10),
    add(3, to),
    set(4, length),
    call(SKB_LOAD_BYTES),
    jumpIf(0, "notEqual", 0, "unreadable"),
  ];
}

const MULTIPLIERS = [0x9e3779b1, 0x85ebca6b, 0xc2b2ae35].map((value) => value | 0) as [
  number,
  number,
  number,
];

/** Takes a word of an address into the hash. */
function absorb(word: number): Instruction[] {
  return [
    load(4, 3, 10, word),
    computeRegister32(2, "xor", 3),
    compute32(2, "multiply", MULTIPLIERS[0]),
    ...fold(15),
  ];
}

/** r0 := the queue of a hash and a port: multiplied, not divided, as Lemire does for 32-bit hashes. */
function mix(seed: number, queues: number): Instruction[] {
  return [
    computeRegister32(2, "xor", 3),
    compute32(2, "xor", seed),
    compute32(2, "multiply", MULTIPLIERS[1]),
    ...fold(13),
    compute32(2, "multiply", MULTIPLIERS[2]),
    ...fold(16),
    compute(2, "multiply", queues),
    compute(2, "shiftRight", 32),
    move(0, 2),
    exit(),
  ];
}

/** r2 ^= r2 >> bits */
function fold(bits: number): Instruction[] {
  return [move(4, 2), compute32(4, "shiftRight", bits), computeRegister32(2, "xor", 4)];
}

/** Adds one to the counter r5 and ends with queue 0. */
function count(counters: number): Instruction[] {
  return [
    store(4, 10, KEY, 5),
    move(2, 10),
    add(2, KEY),
    ...loadMap(1, counters),
    call(MAP_LOOKUP),
    jumpIf(0, "equal64", 0, "end"),
    set(1, 1),
    addAtomic(0, 0, 1),
    label("end"),
    set(0, 0),
    exit(),
  ];
}

/** A word of an address as an eBPF load of it compares. */
function wordOf(address: Uint8Array, index: number): number {
  return new DataView(address.buffer, address.byteOffset).getInt32(4 * index, true);
}
