/** The eBPF assembler byte by byte, against RFC 9669's tables written out by hand. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BatonError } from "../../host/errors.ts";
import * as bpf from "../../host/linux/assembler.ts";
import type { Instruction } from "../../host/linux/assembler.ts";
import { steerProgram } from "../../host/linux/steer.ts";

const assembler = suite("linux/assembler");

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
const words = (...lines: string[]): string => lines.join(" ");

/** Instruction, opcode, registers (source, destination), offset, immediate: little-endian. */
const ROWS: readonly (readonly [string, Instruction | readonly Instruction[], string])[] = [
  ["r6 := r1", bpf.move(6, 1), "bf 16 00 00 00 00 00 00"],
  ["r3 := 2", bpf.set(3, 2), "b7 03 00 00 02 00 00 00"],
  ["r3 := -1", bpf.set(3, -1), "b7 03 00 00 ff ff ff ff"],
  ["r4 += 34", bpf.add(4, 34), "07 04 00 00 22 00 00 00"],
  ["r2 += -16", bpf.add(2, -16), "07 02 00 00 f0 ff ff ff"],
  ["r8 += r7", bpf.addRegister(8, 7), "0f 78 00 00 00 00 00 00"],
  ["r8 &= 15", bpf.compute(8, "and", 15), "57 08 00 00 0f 00 00 00"],
  ["r8 <<= 2", bpf.compute(8, "shiftLeft", 2), "67 08 00 00 02 00 00 00"],
  ["r5 >>= 4", bpf.compute(5, "shiftRight", 4), "77 05 00 00 04 00 00 00"],
  ["r2 *= 3", bpf.compute(2, "multiply", 3), "27 02 00 00 03 00 00 00"],
  ["w2 *= -5", bpf.compute32(2, "multiply", -5), "24 02 00 00 fb ff ff ff"],
  ["w4 >>= 15", bpf.compute32(4, "shiftRight", 15), "74 04 00 00 0f 00 00 00"],
  ["w2 ^= 7", bpf.compute32(2, "xor", 7), "a4 02 00 00 07 00 00 00"],
  ["w2 ^= w3", bpf.computeRegister32(2, "xor", 3), "ac 32 00 00 00 00 00 00"],
  ["lock u64 [r0 + 0] += r1", bpf.addAtomic(0, 0, 1), "db 10 00 00 00 00 00 00"],
  ["r2 := u8 [r1 + 1]", bpf.load(1, 2, 1, 1), "71 12 01 00 00 00 00 00"],
  ["r5 := u16 [r2 + 12]", bpf.load(2, 5, 2, 12), "69 25 0c 00 00 00 00 00"],
  ["r2 := u32 [r6 + 16]", bpf.load(4, 2, 6, 16), "61 62 10 00 00 00 00 00"],
  ["r4 := u64 [r2 + 38]", bpf.load(8, 4, 2, 38), "79 24 26 00 00 00 00 00"],
  ["u8 [r10 - 1] := r4", bpf.store(1, 10, -1, 4), "73 4a ff ff 00 00 00 00"],
  ["u16 [r10 - 2] := r4", bpf.store(2, 10, -2, 4), "6b 4a fe ff 00 00 00 00"],
  ["u32 [r10 - 4] := r4", bpf.store(4, 10, -4, 4), "63 4a fc ff 00 00 00 00"],
  ["u64 [r10 - 16] := r4", bpf.store(8, 10, -16, 4), "7b 4a f0 ff 00 00 00 00"],
  ["r1 := map 7", bpf.loadMap(1, 7), "18 11 00 00 07 00 00 00 00 00 00 00 00 00 00 00"],
  ["call 51", bpf.call(51), "85 00 00 00 33 00 00 00"],
  ["exit", bpf.exit(), "95 00 00 00 00 00 00 00"],
];

for (const [name, instruction, want] of ROWS) {
  assembler(`encodes ${name}`, () => {
    const program = Array.isArray(instruction) ? instruction : [instruction as Instruction];
    assert.is(hex(bpf.assemble(program as Instruction[])), want);
  });
}

const JUMPS: readonly (readonly [string, Instruction, string])[] = [
  ["w5 == 8", bpf.jumpIf(5, "equal", 8, "end"), "16 05 01 00 08 00 00 00"],
  ["w5 != 8", bpf.jumpIf(5, "notEqual", 8, "end"), "56 05 01 00 08 00 00 00"],
  ["r0 == 0", bpf.jumpIf(0, "equal64", 0, "end"), "15 00 01 00 00 00 00 00"],
  ["r4 > r3", bpf.jumpIfRegister(4, "above64", 3, "end"), "2d 34 01 00 00 00 00 00"],
  ["always", bpf.jump("end"), "05 00 01 00 00 00 00 00"],
];

for (const [name, instruction, want] of JUMPS) {
  assembler(`encodes a jump over one instruction if ${name}`, () => {
    const program = [instruction, bpf.set(0, 1), bpf.label("end"), bpf.exit()];
    assert.is(hex(bpf.assemble(program).subarray(0, 8)), want);
  });
}

function complaint(program: readonly Instruction[]): string {
  try {
    bpf.assemble(program);
  } catch (error) {
    return (error as BatonError).code;
  }
  return "none";
}

assembler("counts a wide load as two instructions", () => {
  const program = [bpf.jump("end"), ...bpf.loadMap(1, 3), bpf.label("end"), bpf.exit()];
  assert.is(hex(bpf.assemble(program).subarray(0, 8)), "05 00 02 00 00 00 00 00");
});

assembler("refuses jumps to nowhere or back, doubled labels, and numbers that do not fit", () => {
  const wrong: readonly (readonly Instruction[])[] = [
    [bpf.jump("nowhere")],
    [bpf.label("loop"), bpf.jump("loop")],
    [bpf.label("twice"), bpf.label("twice")],
    [bpf.set(0, 2 ** 31)],
    [bpf.load(4, 0, 1, 32768)],
    [bpf.set(0, 0.5)],
  ];
  for (const program of wrong) assert.is(complaint(program), "ERR_BATON_BPF");
});

assembler("makes the steering program that was read and checked by hand", () => {
  const maps = { addresses4: 0x44, addresses6: 0x66, sockets: 0x55 };
  const mac = Uint8Array.of(0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee);
  const want = words(
    "bf 16 00 00 00 00 00 00", //  0 r6 := r1
    "61 12 00 00 00 00 00 00", //  1 r2 := data
    "61 13 04 00 00 00 00 00", //  2 r3 := data_end
    "bf 24 00 00 00 00 00 00", //  3 r4 := r2
    "07 04 00 00 22 00 00 00", //  4 r4 += 34
    "2d 34 23 00 00 00 00 00", //  5 r4 > r3: 41
    "61 25 00 00 00 00 00 00", //  6 MAC bytes 0 to 3
    "56 05 21 00 02 aa bb cc", //  7 others: 41
    "69 25 04 00 00 00 00 00", //  8 bytes 4, 5
    "56 05 1f 00 dd ee 00 00", //  9 others: 41
    "69 25 0c 00 00 00 00 00", // 10 EtherType
    "16 05 0f 00 08 00 00 00", // 11 IPv4: 27
    "56 05 1c 00 86 dd 00 00", // 12 not IPv6: 41
    "bf 24 00 00 00 00 00 00", // 13
    "07 04 00 00 36 00 00 00", // 14 r4 := data + 54
    "2d 34 19 00 00 00 00 00", // 15 r4 > r3: 41
    "79 24 26 00 00 00 00 00", // 16
    "7b 4a f0 ff 00 00 00 00", // 17
    "79 24 2e 00 00 00 00 00", // 18
    "7b 4a f8 ff 00 00 00 00", // 19
    "bf a2 00 00 00 00 00 00", // 20
    "07 02 00 00 f0 ff ff ff", // 21 r2 := key
    "18 11 00 00 66 00 00 00", // 22
    "00 00 00 00 00 00 00 00", // 23 r1 := addresses6
    "85 00 00 00 01 00 00 00", // 24 look up
    "15 00 0f 00 00 00 00 00", // 25 none: 41
    "05 00 08 00 00 00 00 00", // 26 35
    "61 24 1e 00 00 00 00 00", // 27 IPv4 destination
    "63 4a fc ff 00 00 00 00", // 28
    "bf a2 00 00 00 00 00 00", // 29
    "07 02 00 00 fc ff ff ff", // 30 r2 := key
    "18 11 00 00 44 00 00 00", // 31
    "00 00 00 00 00 00 00 00", // 32 r1 := addresses4
    "85 00 00 00 01 00 00 00", // 33 look up
    "15 00 06 00 00 00 00 00", // 34 none: 41
    "61 62 10 00 00 00 00 00", // 35 r2 := queue
    "18 11 00 00 55 00 00 00", // 36
    "00 00 00 00 00 00 00 00", // 37 r1 := sockets
    "b7 03 00 00 02 00 00 00", // 38 r3 := XDP_PASS
    "85 00 00 00 33 00 00 00", // 39 redirect
    "95 00 00 00 00 00 00 00", // 40
    "b7 00 00 00 02 00 00 00", // 41 r0 := XDP_PASS
    "95 00 00 00 00 00 00 00", // 42
  );
  assert.is(hex(steerProgram(maps, mac)), want);
});

assembler.run();
