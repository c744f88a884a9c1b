/**
 * What the files of the ABI share: whether init() was done, and the latest time that the host told, for calls
 * that do not tell one. Knows nothing else.
 */

let ready: bool = false;
let latestUs: f64 = 0;

export function clockStart(nowUs: f64): void {
  latestUs = nowUs;
  ready = true;
}

export function clockReady(): bool {
  return ready;
}

export function clockUs(): f64 {
  return latestUs;
}

/** Checks a time and remembers it. */
export function clockTell(nowUs: f64): bool {
  if (!isTime(nowUs)) return false;
  latestUs = nowUs;
  return true;
}

/** Times never start below 1; NaN fails too. */
export function isTime(nowUs: f64): bool {
  return nowUs >= 1 && nowUs < 9007199254740992;
}
