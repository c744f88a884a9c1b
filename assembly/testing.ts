/** Entry of the test builds: the ABI and the internals that unit tests reach. Never shipped. */
import { hashPair } from "./flow/hash";
import { tableRemove } from "./flow/table";
import { ingress } from "./encap/ingress";
import { rxDescriptor, txDescriptor } from "./batch";
import { handlePackets, pollTransmit } from "./index";
import { DESCRIPTOR_SIZE, Descriptor } from "./layout";

export * from "./index";

// wire
export { swap16, swap32, loadBe16, loadBe32, storeBe16, storeBe32 } from "./wire/bytes";
export {
  seqLt,
  seqLe,
  seqGt,
  seqGe,
  seqIn,
  seqInAfter,
  seqBetween,
  seqMax,
  seqMin,
  seqDiff,
} from "./wire/seq";
export {
  sumFold,
  sumBytes,
  sumCopy,
  sumAppend,
  pseudoSum,
  transportChecksumOk,
  checksumOf,
  checksumUpdate,
  partialUpdate,
  sumNot32,
  sumNot64,
  sum64,
} from "./wire/checksum";
export {
  Protocol,
  ipCheck,
  ipCheckedHeaderLen,
  ipCheckedProtocol,
  ipCheckQuoted,
  ipVersion,
  ipTotalLen,
  ipTtl,
  ipTrafficClass,
  ipSourcePtr,
  ipDestinationPtr,
  ipWrite,
  ipChecksumWrite,
  ipSetTransportLen,
  ipFlowLabel,
} from "./wire/ip";
export {
  TcpFlag,
  tcpCheck,
  tcpSourcePort,
  tcpDestinationPort,
  tcpPorts,
  tcpSeq,
  tcpAck,
  tcpFlags,
  tcpHeaderLen,
  tcpWindow,
  tcpUrgent,
  tcpSegLen,
  tcpChecksumOk,
  tupleRead,
  tupleReadOutbound,
  tupleEqual,
  tcpWrite,
  tcpOptions,
  tcpSetUrgent,
  tcpChecksumWrite,
  tcpChecksumWritePartial,
} from "./wire/tcp";
export {
  OptionBit,
  OPTIONS,
  optionsParse,
  optionsSackLeft,
  optionsSackRight,
  optionsWriteSyn,
  optionsWrite,
} from "./wire/options";
export { IcmpKind, ICMP_ERROR, icmpCheck } from "./wire/icmp";

// flow
export { hashInit, hash4, hash6, hashTuple, hashPair, hashAddress } from "./flow/hash";
export {
  TABLE_SIZE,
  tableReserve,
  tableHome,
  tableNext,
  tableFull,
  tableCount,
  tableClaim,
  tableRemove,
  tableAt,
  tableCapacity,
} from "./flow/table";
export { EXPIRY_SIZE, expiryReserve, expiryPush, expiryOldestUs, expiryPop } from "./flow/expiry";

/** tableRemove for entries whose key is two words, hashed by hashPair. */
export function tableRemoveByPair(tablePtr: usize, entry: usize): void {
  tableRemove(tablePtr, entry, hashOfPair);
}

function hashOfPair(entry: usize): u32 {
  return hashPair(load<u32>(entry), load<u32>(entry, 4));
}

// encap
export { holdBytes } from "./encap/hold";

/** handlePackets without batching: what the three passes are compared with. */
export function handlePacketsSingly(count: u32, nowUs: f64): i32 {
  let left = 0;
  for (let index: u32 = 0; index < count; index++) left += ingress(index, index + 1, nowUs, true);
  return left;
}

/** handlePackets without the short way: what that is compared with. */
export function handlePacketsLong(count: u32, nowUs: f64): i32 {
  return ingress(0, count, nowUs, false);
}

/**
 * Gives what the core wants to send back to it, from the slots it lies in: a wire without a copy, for both ends
 * of a connection in one core. Returns how many packets went round.
 */
export function loopback(nowUs: f64): i32 {
  const count = pollTransmit(nowUs);
  for (let index = 0; index < count; index++) {
    const rx = rxDescriptor(index);
    const own = changetype<Descriptor>(rx).ptr;
    memory.copy(rx, txDescriptor(index), DESCRIPTOR_SIZE);
    store<u32>(OWN_SLOTS + ((<usize>index) << 2), own);
  }
  handlePackets(count, nowUs);
  for (let index = 0; index < count; index++) {
    changetype<Descriptor>(rxDescriptor(index)).ptr = load<u32>(OWN_SLOTS + ((<usize>index) << 2));
  }
  return count;
}
const OWN_SLOTS: usize = memory.data(256, 4);

// tcp
export { TCB_SIZE, tcbReserve, tcbOpen, tcbClose, tcbByHandle, tcbCount, tcbAt } from "./tcp/tcb";
export {
  chunkReserve,
  chunkTake,
  chunkGive,
  chunkAt,
  chunksUsed,
  chunksFree,
  CHUNK_SIZE,
} from "./tcp/chunk";
export {
  QUEUE_SIZE,
  QUEUE_BYTES_MAX,
  queueInit,
  queueAt,
  queueMake,
  queueTogether,
  queueWrite,
  queueRead,
  queueDiscard,
  queueClear,
  queueTrim,
} from "./tcp/buffer";
export { layoutBegin, layoutEnd, reserve as layoutReserve } from "./layout";
export { nodesUsed, nodeSteps } from "./tcp/node";
export {
  timeWaitCount,
  timeWaitDone,
  timeWaitEnd,
  timeWaitFind,
  timeWaitForget,
  timeWaitOpen,
  timeWaitReported,
} from "./tcp/timewait";
export { wheelMoves } from "./tcp/wheel";
export { layoutTop } from "./layout";

// blob
export { BlobOff, BlobFlag, BLOB_FIXED_LEN, MAPPING_LEN, blobSum, headerSum } from "./blob/format";
export { blobCheck } from "./blob/check";
export { seal as blobSeal } from "./blob/compile";

/** Its existence makes tcp/node.ts count its look-ups: what the fuzzer measures the work of a segment by. */
@global
class COUNT_NODE_STEPS {}
