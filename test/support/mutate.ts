/**
 * Damaged copies of real bytes, from a seed: bits flipped, bytes set, cut, put in and left out, pieces
 * twice, lengths that lie, the beginning of one with the end of another. BATON_SEED begins elsewhere.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SeededRandom } from "../../host/sim/random.ts";
import { ROOT } from "../house/source.ts";

export const SEED = Number(process.env["BATON_SEED"] ?? 1);

/** Where a big-endian length stands, and in how many bytes. */
export type LengthField = readonly [at: number, width: number];

export interface Mutator {
  readonly random: SeededRandom;
  /** A damaged copy of one of the samples. */
  next(): Uint8Array;
  /** Where to cut `length` bytes into pieces: some ascending numbers below it. */
  cuts(length: number): number[];
}

const CHANGES_MAX = 4;
const CUTS_MAX = 12;
const PIECE_MAX = 40;

/** @param lengths where the lengths of an undamaged sample are: each is a likely place for a lie */
export function mutator(
  samples: readonly Uint8Array[],
  lengths: (bytes: Uint8Array) => readonly LengthField[] = () => [],
): Mutator {
  const random = new SeededRandom(SEED);
  const fields = new Map(samples.map((sample) => [sample, lengths(sample)]));
  return {
    random,
    next: () => {
      const sample = random.pick(samples);
      let bytes = sample.slice();
      // Lies first: their places are those of the undamaged sample.
      const known = fields.get(sample) ?? [];
      if (known.length > 0 && random.chance(60)) lie(random, bytes, random.pick(known));
      const changes = random.below(CHANGES_MAX + 1);
      for (let change = 0; change < changes; change++) {
        bytes = damage(random, bytes, random.pick(samples));
      }
      return bytes;
    },
    cuts: (length) =>
      Array.from({ length: random.below(CUTS_MAX) }, () => random.below(length)).sort(
        (a, b) => a - b,
      ),
  };
}

function lie(random: SeededRandom, bytes: Uint8Array, [at, width]: LengthField): void {
  const truth = bytes.subarray(at, at + width).reduce((sum, byte) => sum * 256 + byte, 0);
  const most = 256 ** width - 1;
  const left = bytes.length - at - width;
  const lies = [0, 1, truth - 1, truth + 1, truth * 2, left, left - 1, left + 1, most, most >> 1];
  let value = Math.min(most, Math.max(0, random.pick(lies)));
  for (let index = width - 1; index >= 0; index--) {
    bytes[at + index] = value % 256;
    value = Math.floor(value / 256);
  }
}

function damage(
  random: SeededRandom,
  bytes: Uint8Array,
  other: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + random.below(PIECE_MAX));
  const [head, piece, tail] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (random.below(7)) {
    case 0: {
      const out = bytes.slice();
      if (at < out.length) out[at] = (out[at] ?? 0) ^ (1 << random.below(8));
      return out;
    }
    case 1: {
      const out = bytes.slice();
      if (at < out.length) out[at] = random.below(256);
      return out;
    }
    case 2:
      return head.slice();
    case 3:
      return Uint8Array.from([...head, ...tail]);
    case 4:
      return Uint8Array.from([...head, ...piece, ...piece, ...tail]);
    case 5:
      return Uint8Array.from([...head, ...random.bytes(1 + random.below(8)), ...piece, ...tail]);
    default:
      return Uint8Array.from([...head, ...other.subarray(random.below(other.length))]);
  }
}

/** Says which damaged bytes they were. */
export function named(bytes: Uint8Array): string {
  return `seed ${SEED}: ${Buffer.from(bytes).toString("hex")}`;
}

/** The lines of a file in test/fixtures, without comments. */
export function fixtureLines(name: string): string[] {
  const text = readFileSync(join(ROOT, "test", "fixtures", name), "latin1");
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

export interface FixtureHello {
  readonly client: string;
  readonly serverName: string;
  readonly alpn: readonly string[];
  readonly bytes: Uint8Array;
}

/** test/fixtures/hellos.txt */
export function fixtureHellos(): FixtureHello[] {
  return fixtureLines("hellos.txt").map((line) => {
    const [client = "", name = "", protocols = "", hex = ""] = line.split(" ");
    return {
      client,
      serverName: name === "-" ? "" : name,
      alpn: protocols === "-" ? [] : protocols.split(","),
      bytes: Uint8Array.from(Buffer.from(hex, "hex")),
    };
  });
}

/** test/fixtures/heads.txt: by who sent them. */
export function fixtureHeads(): (readonly [client: string, bytes: Uint8Array])[] {
  return fixtureLines("heads.txt").map((line) => {
    const blank = line.indexOf(" ");
    const text = JSON.parse(line.slice(blank + 1)) as string;
    return [line.slice(0, blank), Uint8Array.from(Buffer.from(text, "latin1"))] as const;
  });
}
