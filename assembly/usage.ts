/**
 * How full each table and pool is: where an operator sees a limit come near, and a test that nothing leaked. Knows
 * which rooms have one; must not know what lies in it.
 */
import { holdBytes, holdQueues } from "./encap/hold";
import { mappingCount, mappingSpan } from "./encap/mapping";
import { recordsCount, recordsSpan } from "./encap/records";
import { chunksUsed } from "./tcp/chunk";
import { nodesUsed } from "./tcp/node";
import { tcbCount } from "./tcp/tcb";
import { timeWaitCount } from "./tcp/timewait";

/** Position of each number. Append only. */
export enum Usage {
  /** Connections of the own stack; those in TIME-WAIT. */
  CONNECTIONS = 0,
  TIME_WAITS = 1,
  /** Chunks of send and receive buffers; nodes of segments and ranges. */
  CHUNKS = 2,
  NODES = 3,
  /** Mappings of a forwarder, by family. */
  MAPPINGS4 = 4,
  MAPPINGS6 = 5,
  /** Flow records that are not NONE. */
  RECORDS = 6,
  /** Bytes of packets that wait for their connection or for a verdict; the flows they wait for. */
  HELD_BYTES = 7,
  HELD_FLOWS = 8,
}

export const USAGE: usize = memory.data(64, 8);

/** Writes every number. */
export function usageTake(): void {
  put(Usage.CONNECTIONS, tcbCount());
  put(Usage.TIME_WAITS, timeWaitCount());
  put(Usage.CHUNKS, chunksUsed());
  put(Usage.NODES, nodesUsed());
  put(Usage.MAPPINGS4, mappingCount(4));
  put(Usage.MAPPINGS6, mappingCount(6));
  put(Usage.RECORDS, recordsCount());
  put(Usage.HELD_BYTES, holdBytes());
  put(Usage.HELD_FLOWS, holdQueues());
}

/** Writes address and bytes of a table to SPAN; false when packets are not looked up in what is counted there. */
export function usageSpan(what: u32): bool {
  if (what == Usage.MAPPINGS4) mappingSpan(4);
  else if (what == Usage.MAPPINGS6) mappingSpan(6);
  else if (what == Usage.RECORDS) recordsSpan();
  else return false;
  return true;
}

function put(what: u32, value: u32): void {
  store<u32>(USAGE + ((<usize>what) << 2), value);
}
