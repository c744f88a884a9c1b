/**
 * The end of a path: counts packets from one address to another as a device receives them, and drops them
 * before the kernel's IP has seen them. So nobody pays for what lies behind that device. Run as a script on the
 * device's node, which answers questions with the count so far, and lets packets pass again when it ends.
 * Knows eBPF (host/linux); must not know who sends.
 */
import {
  add,
  assemble,
  call,
  exit,
  jumpIf,
  jumpIfRegister,
  label,
  load,
  loadMap,
  move,
  set,
  store,
  type Instruction,
} from "../../host/linux/assembler.ts";
import { addressBytes } from "../../host/linux/address.ts";
import {
  attachIngress,
  createMap,
  loadProgram,
  MapType,
  ProgramType,
  readMap,
} from "../../host/linux/bpf.ts";
import {
  ETHER_TYPE,
  IPV4,
  IPV4_DESTINATION,
  IPV4_END,
  IPV4_SOURCE,
  MAP_LOOKUP,
} from "../../host/linux/frame.ts";
import { runAsDialog } from "./dialog.ts";

export interface SinkWish {
  readonly device: string;
  /** IPv4. */
  readonly source: string;
  readonly destination: string;
}

export interface SinkSays {
  readonly count: number;
}

export const SINK = new URL(import.meta.url);

const PASS = 0;
const DROP = 2;
/** struct __sk_buff */
const DATA = 76;
const DATA_END = 80;
/** Adds a register of 64 bits to memory, in one step for all processors. */
const ATOMIC_ADD = 0xdb;

/** Counts in entry 0 of an array map. */
export function sinkProgram(map: number, { source, destination }: SinkWish): Uint8Array {
  const word = (address: string): number => {
    const bytes = addressBytes(address);
    return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
  };
  const program: Instruction[] = [
    load(4, 2, 1, DATA),
    load(4, 3, 1, DATA_END),
    move(4, 2),
    add(4, IPV4_END),
    jumpIfRegister(4, "above64", 3, "pass"),
    load(2, 5, 2, ETHER_TYPE),
    jumpIf(5, "notEqual", IPV4, "pass"),
    load(4, 5, 2, IPV4_SOURCE),
    jumpIf(5, "notEqual", word(source), "pass"),
    load(4, 5, 2, IPV4_DESTINATION),
    jumpIf(5, "notEqual", word(destination), "pass"),
    set(4, 0),
    store(4, 10, -4, 4),
    move(2, 10),
    add(2, -4),
    ...loadMap(1, map),
    call(MAP_LOOKUP),
    jumpIf(0, "equal64", 0, "pass"),
    set(1, 1),
    { opcode: ATOMIC_ADD, destination: 0, source: 1 },
    set(0, DROP),
    exit(),
    label("pass"),
    set(0, PASS),
    exit(),
  ];
  return assemble(program);
}

runAsDialog(import.meta.url, (wish: SinkWish) => {
  const map = createMap(MapType.ARRAY, 4, 8, 1);
  attachIngress(loadProgram(sinkProgram(map, wish), ProgramType.INGRESS), wish.device);
  const key = new Uint8Array(new ArrayBuffer(4));
  return (): SinkSays => {
    const value = readMap(map, key, 8);
    return { count: Number(new DataView(value.buffer).getBigUint64(0, true)) };
  };
});
