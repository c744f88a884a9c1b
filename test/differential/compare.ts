/**
 * Compares two transcripts of one script: which lines only one of them has. A line that both have at times too far
 * from each other counts as two. Knows lines; must not know what they mean.
 */
export interface Difference {
  /** Lines that only the kernel has, and only the core has, in their order. */
  linux: string[];
  baton: string[];
}

/** A kernel's timers have ticks of 4 ms and, the longer they run, the coarser ones: up to an eighth. */
const SLACK_MS = 16;
const SLACK_SHARE = 0.16;

interface Line {
  text: string;
  ms: number;
}

function parse(line: string): Line {
  const [, ms, text] = /^(\d+) (< .*)$/.exec(line) ?? [];
  return text === undefined ? { text: line, ms: 0 } : { text, ms: Number(ms) };
}

/** Whether both mean the same thing at about the same time. */
function same(a: Line, b: Line, slack: number): boolean {
  const far = Math.max(a.ms, b.ms);
  return a.text === b.text && Math.abs(a.ms - b.ms) <= slack * (SLACK_MS + far * SLACK_SHARE);
}

/** @param slack 1 between two stacks; more where a busy machine's clock is one of the two */
export function compare(
  linux: readonly string[],
  baton: readonly string[],
  slack = 1,
): Difference | undefined {
  const [a, b] = [linux.map(parse), baton.map(parse)];
  // lengths[i][j]: lines that the ends from i and from j have in common, at most.
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i]![j] = same(a[i]!, b[j]!, slack)
        ? lengths[i + 1]![j + 1]! + 1
        : Math.max(lengths[i + 1]![j]!, lengths[i]![j + 1]!);
    }
  }
  const found: Difference = { linux: [], baton: [] };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && same(a[i]!, b[j]!, slack)) {
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && lengths[i + 1]![j]! >= lengths[i]![j + 1]!)) {
      found.linux.push(linux[i++]!);
    } else {
      found.baton.push(baton[j++]!);
    }
  }
  return found.linux.length + found.baton.length === 0 ? undefined : found;
}
