/**
 * Few rows in which any two values of different dimensions meet at least once (pairwise testing). Knows
 * values only; must not know what they mean. Deterministic: the same dimensions give the same rows.
 */
export type Dimensions = Readonly<Record<string, readonly unknown[]>>;
export type RowOf<D extends Dimensions> = { readonly [Name in keyof D]: D[Name][number] };

/** Greedy: each row begins with a pair that is still missing, and takes of every dimension what adds most. */
export function coverPairs<D extends Dimensions>(dimensions: D): RowOf<D>[] {
  const sizes = Object.values(dimensions).map((values) => values.length);
  const missing = allPairs(sizes);
  const rows: number[][] = [];
  while (missing.size > 0) {
    const [first = ""] = missing;
    const row = sizes.map(() => -1);
    for (const [dimension, value] of readPair(first)) row[dimension] = value;
    sizes.forEach((size, dimension) => {
      if (row[dimension] === -1) row[dimension] = best(row, dimension, size, missing, rows.length);
    });
    for (const pair of pairsOf(row)) missing.delete(pair);
    rows.push(row);
  }
  const names = Object.keys(dimensions);
  return rows.map((row) => {
    const entries = names.map((name, at) => [name, dimensions[name]?.[row[at] ?? 0]] as const);
    return Object.fromEntries(entries) as RowOf<D>;
  });
}

/** Pairs of values that no row has: empty when the rows cover all. */
export function missingPairs<D extends Dimensions>(
  dimensions: D,
  rows: readonly RowOf<D>[],
): string[] {
  const names = Object.keys(dimensions);
  const missing = allPairs(Object.values(dimensions).map((values) => values.length));
  for (const row of rows) {
    const indices = names.map((name) => (dimensions[name] ?? []).indexOf(row[name]));
    for (const pair of pairsOf(indices)) missing.delete(pair);
  }
  return [...missing].map((pair) =>
    readPair(pair)
      .map(
        ([dimension, value]) =>
          `${names[dimension]} ${String(Object.values(dimensions)[dimension]?.[value])}`,
      )
      .join(" with "),
  );
}

/** Of values that add equally many pairs, each has its turn. */
function best(
  row: readonly number[],
  dimension: number,
  size: number,
  missing: ReadonlySet<string>,
  turn: number,
): number {
  let most = -1;
  let found = 0;
  for (let step = 0; step < size; step += 1) {
    const value = (turn + step) % size;
    const taken = row.map((other, at) => (at === dimension ? value : other));
    const gain = pairsOf(taken).filter((pair) => missing.has(pair)).length;
    if (gain > most) [most, found] = [gain, value];
  }
  return found;
}

function allPairs(sizes: readonly number[]): Set<string> {
  const pairs = new Set<string>();
  sizes.forEach((size, one) => {
    for (let other = one + 1; other < sizes.length; other += 1) {
      for (let a = 0; a < size; a += 1) {
        for (let b = 0; b < (sizes[other] ?? 0); b += 1) pairs.add(`${one}=${a} ${other}=${b}`);
      }
    }
  });
  return pairs;
}

/** A value of -1 is not chosen yet. */
function pairsOf(row: readonly number[]): string[] {
  const chosen = row.flatMap((value, dimension) => (value < 0 ? [] : [`${dimension}=${value}`]));
  return chosen.flatMap((one, at) => chosen.slice(at + 1).map((other) => `${one} ${other}`));
}

function readPair(pair: string): [number, number][] {
  return pair.split(" ").map((part) => part.split("=").map(Number) as [number, number]);
}
