/**
 * An assembler for eBPF: named instructions in, the bytes that bpf(2) takes out. Knows the encoding of RFC 9669; must
 * not know what a program does. Only what Baton's programs need.
 *
 *    0 opcode      u8
 *    1 registers   u8   destination in the low half, source in the high one
 *    2 offset      i16  of a load or store; of a jump, counted from the next instruction
 *    4 immediate   i32
 */
import { BatonError } from "../errors.ts";

/** r0: result; r1 to r5: arguments, lost at a call; r6 to r9: kept; r10: end of the stack. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
export type Width = 1 | 2 | 4 | 8;
/** Of the low 32 bits of both sides, unsigned, except with "64". */
export type Condition = "equal" | "notEqual" | "above64" | "equal64";

/** Unsigned. */
export type Operation = keyof typeof OPERATIONS;

export type Instruction =
  | { readonly label: string }
  | {
      readonly opcode: number;
      readonly destination?: Register;
      readonly source?: number;
      readonly offset?: number;
      readonly immediate?: number;
      /** Where a jump goes: decides `offset`. */
      readonly target?: string;
    };

const INSTRUCTION_BYTES = 8;
const ALU64 = 0x07;
const JUMP = 0x05;
const JUMP32 = 0x06;
const LOAD = 0x61;
const STORE = 0x63;
const LOAD_WIDE = 0x18;
const MOVE = 0xb0;
const ADD = 0x00;
const ALU32 = 0x04;
/** Operations by their name in `Operation`. */
const OPERATIONS = {
  multiply: 0x20,
  and: 0x50,
  shiftLeft: 0x60,
  shiftRight: 0x70,
  xor: 0xa0,
} as const;
const ATOMIC_ADD64 = 0xdb;
const CALL = 0x85;
const EXIT = 0x95;
const BY_REGISTER = 0x08;
/** The immediate of a wide load is a map's descriptor. */
const PSEUDO_MAP_FD = 1;
const SIZES: Readonly<Record<Width, number>> = { 4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18 };
const CONDITIONS: Readonly<Record<Condition, number>> = {
  equal: JUMP32 | 0x10,
  notEqual: JUMP32 | 0x50,
  equal64: JUMP | 0x10,
  above64: JUMP | 0x20,
};

/** A place to jump to. */
export function label(name: string): Instruction {
  return { label: name };
}

/** to := from */
export function move(to: Register, from: Register): Instruction {
  return { opcode: ALU64 | MOVE | BY_REGISTER, destination: to, source: from };
}

/** to := value */
export function set(to: Register, value: number): Instruction {
  return { opcode: ALU64 | MOVE, destination: to, immediate: value };
}

/** to += value */
export function add(to: Register, value: number): Instruction {
  return { opcode: ALU64 | ADD, destination: to, immediate: value };
}

/** to += from */
export function addRegister(to: Register, from: Register): Instruction {
  return { opcode: ALU64 | ADD | BY_REGISTER, destination: to, source: from };
}

/** to := to `operation` value; of 64 bits. */
export function compute(to: Register, operation: Operation, value: number): Instruction {
  return { opcode: ALU64 | OPERATIONS[operation], destination: to, immediate: value };
}

/** The same of the low 32 bits; zeros above. */
export function compute32(to: Register, operation: Operation, value: number): Instruction {
  return { opcode: ALU32 | OPERATIONS[operation], destination: to, immediate: value };
}

/** to := to `operation` from, of the low 32 bits; zeros above. */
export function computeRegister32(to: Register, operation: Operation, from: Register): Instruction {
  const opcode = ALU32 | OPERATIONS[operation] | BY_REGISTER;
  return { opcode, destination: to, source: from };
}

/** The 64 bits at `at` + offset += from, as one step among all processors. */
export function addAtomic(at: Register, offset: number, from: Register): Instruction {
  return { opcode: ATOMIC_ADD64, destination: at, source: from, offset };
}

/** to := `width` bytes at from + offset, zeros above */
export function load(width: Width, to: Register, from: Register, offset: number): Instruction {
  return { opcode: LOAD | SIZES[width], destination: to, source: from, offset };
}

/** The low `width` bytes of `from` to the address at + offset. */
export function store(width: Width, at: Register, offset: number, from: Register): Instruction {
  return { opcode: STORE | SIZES[width], destination: at, source: from, offset };
}

/** to := the map behind a descriptor. Two instructions long. */
export function loadMap(to: Register, fd: number): readonly Instruction[] {
  const first = { opcode: LOAD_WIDE, destination: to, source: PSEUDO_MAP_FD, immediate: fd };
  return [first, { opcode: 0 }];
}

/** Goes on at `target` if the condition holds between a register and a number. */
export function jumpIf(
  left: Register,
  condition: Condition,
  right: number,
  target: string,
): Instruction {
  return { opcode: CONDITIONS[condition], destination: left, immediate: right, target };
}

/** The same between two registers. */
export function jumpIfRegister(
  left: Register,
  condition: Condition,
  right: Register,
  target: string,
): Instruction {
  const opcode = CONDITIONS[condition] | BY_REGISTER;
  return { opcode, destination: left, source: right, target };
}

export function jump(target: string): Instruction {
  return { opcode: JUMP, target };
}

/** Calls a helper of the kernel by its number. */
export function call(helper: number): Instruction {
  return { opcode: CALL, immediate: helper };
}

/** Ends the program with r0 as its result. */
export function exit(): Instruction {
  return { opcode: EXIT };
}

/** The program's bytes. @throws BatonError for a jump to nowhere or backwards, or a number that does not fit. */
export function assemble(program: readonly Instruction[]): Uint8Array {
  const labels = new Map<string, number>();
  let count = 0;
  for (const line of program) {
    if (!("label" in line)) count += 1;
    else if (labels.has(line.label)) throw fault(`label ${line.label}: expected it once`);
    else labels.set(line.label, count);
  }
  const bytes = new Uint8Array(count * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  let index = 0;
  for (const line of program) {
    if ("label" in line) continue;
    const { opcode, destination = 0, source = 0, immediate = 0, target } = line;
    const offset = target === undefined ? (line.offset ?? 0) : distance(labels, target, index);
    if (offset !== (offset << 16) >> 16) throw fault(`offset: expected 16 bits, got ${offset}`);
    if (immediate !== (immediate | 0)) throw fault(`number: expected 32 bits, got ${immediate}`);
    const at = index * INSTRUCTION_BYTES;
    bytes[at] = opcode;
    bytes[at + 1] = (source << 4) | destination;
    view.setInt16(at + 2, offset, true);
    view.setInt32(at + 4, immediate, true);
    index += 1;
  }
  return bytes;
}

function distance(labels: ReadonlyMap<string, number>, target: string, index: number): number {
  const at = labels.get(target);
  // Forwards only: a program without loops ends.
  if (at === undefined || at <= index) throw fault(`label ${target}: expected it further down`);
  return at - index - 1;
}

function fault(what: string): BatonError {
  return new BatonError("ERR_BATON_BPF", `eBPF ${what}`);
}
