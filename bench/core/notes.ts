/** Why a goal may be missed, in a line or two each: what stands in the way, and what was tried (docs/performance.md). */
const MISSES =
  "most of a packet's time are loads that miss: what else runs on the same memory and caches shows first here";

const UNKNOWN = "nothing is known that stands in the way: compare with a quieter machine";

/** For a key of the table whose goal was missed. */
export function noteOf(key: string): string {
  return NOTES[key] ?? UNKNOWN;
}

const NOTES: Readonly<Record<string, string>> = {
  "encapsulate.mpps": MISSES,
  "encapsulate.mpps4M": `${MISSES}; touching one line a packet, or three, gained nothing`,
  "encapsulate.mpps6":
    "an address is four times as long to check, hash and compare; a pass in straight lines gained nothing",
  "encapsulate.vsC":
    "in cache the core takes 1.2 times C's time: what is gained is waiting, and where loads hardly wait there is little",
  "decapsulate.mpps": `${MISSES}; each packet is summed whole, because a damaged flow would be another's`,
  "decapsulate.mpps6": "as decapsulate.mpps",
  "connections.perSecond":
    "a flat profile over some ten segments a connection; TIME-WAIT records out of the cache were its largest part",
  "syn.mpps": "a third is SipHash, twice for each SYN: the cookie and the timestamps' offset",
};
