/**
 * The short way of packets that go back: TCP on a flow that this node no longer has, from a peer. A pass does all
 * that flows.ts does with such a packet, and leaves the others to it untouched. Knows what flows.ts knows; must not
 * know what is rare. A loop in straight lines, for the reason that plain.ts gives.
 */
import { Descriptor, PacketFlag, RecordState, Verdict } from "../layout";
import { Counter, countMany } from "../counters";
import { rxDescriptor } from "../batch";
import { swap16 } from "../wire/bytes";
import {
  checksumOf,
  checksumUpdate,
  partialUpdate,
  sum64,
  sumBytes,
  sumFold,
  sumNot32,
  sumNot64,
} from "../wire/checksum";
import { IP4_HEADER_LEN, IP6_HEADER_LEN, Protocol } from "../wire/ip";
import { TCP_CHECKSUM_OFF } from "../wire/tcp";
import { Record, recordFindNear } from "./records";
import { Kind, Work, workAt } from "./work";

/** Up to here a segment is summed in place; above, the call costs less than it saves. */
const SUM_MAX: usize = 128;
/** The pseudo header's protocol as a word in memory, and its length as one. */
const PROTOCOL_WORD: u64 = <u64>(Protocol.TCP << 8);

/**
 * Pass 3 from packet `first` on: gives back those of ended flows until one is to be decided the long way.
 * @returns the index of that one, or `end`
 */
export function plainBack(first: u32, end: u32): u32 {
  let index = first;
  for (; index < end; index++) {
    const work = changetype<Work>(workAt(index));
    if (work.kind != Kind.TUNNEL) break;
    const descriptor = changetype<Descriptor>(rxDescriptor(index));
    const ptr = <usize>descriptor.ptr;
    const headerLen = work.headerLen;
    const tcp = ptr + <usize>headerLen;
    const name = load<u32>(tcp);
    const flow = bswap<u32>(name);
    const entry = recordFindNear(<usize>work.home, work.key, flow);
    if (entry == 0) break;
    const record = changetype<Record>(entry);
    const state = <u32>record.state;
    if (state != RecordState.MOVED && state != RecordState.CLOSED) break;
    const ports = swap16(<u32>record.remotePort) | (swap16(<u32>record.localPort) << 16);
    const isV4 = load<u8>(ptr) >> 4 == 4;
    if (headerLen != (isV4 ? IP4_HEADER_LEN : IP6_HEADER_LEN) || record.family != (isV4 ? 4 : 6))
      break;
    let removed: u64 = 0;
    let added: u64 = 0;
    let pseudo: u64 = 0;
    if (isV4) {
      const source = load<u32>(ptr, 12);
      const destination = load<u32>(ptr, 16);
      pseudo = <u64>source + <u64>destination;
      removed = sumNot32(source) + sumNot32(destination);
      added = <u64>(<u32>record.remote0) + <u64>(<u32>record.local0);
    } else {
      const a = load<u64>(ptr, 8);
      const b = load<u64>(ptr, 16);
      const c = load<u64>(ptr, 24);
      const d = load<u64>(ptr, 32);
      pseudo = sum64(a) + sum64(b) + sum64(c) + sum64(d);
      removed = sumNot64(a) + sumNot64(b) + sumNot64(c) + sumNot64(d);
      added =
        sum64(record.remote0) + sum64(record.remote1) + sum64(record.local0) + sum64(record.local1);
    }
    const flags = <u32>descriptor.flags;
    if ((flags & (PacketFlag.NEEDS_CSUM | PacketFlag.CSUM_VERIFIED)) == 0) {
      const length = descriptor.len - headerLen;
      const stop = tcp + <usize>length;
      let sum = pseudo + PROTOCOL_WORD + <u64>swap16(length);
      if ((length & 3) != 0 || <usize>length > SUM_MAX) sum = sumBytes(tcp, length, sum);
      else {
        let at = tcp;
        for (; at + 8 <= stop; at += 8) sum += sum64(load<u64>(at));
        if (at < stop) sum += <u64>load<u32>(at);
      }
      if (sumFold(sum) != 0xffff) break;
    }
    const field = tcp + <usize>TCP_CHECKSUM_OFF;
    if ((flags & PacketFlag.NEEDS_CSUM) != 0) partialUpdate(field, removed, added);
    else checksumUpdate(field, removed + sumNot32(name), added + <u64>ports);
    store<u32>(tcp, ports);
    if (isV4) {
      const words = load<u32>(ptr, 8); // TTL, protocol, checksum
      const sum = <u64>(~(words >> 16) & 0xffff) + removed + added;
      store<u32>(ptr, (words & 0xffff) | (checksumOf(sum) << 16), 8);
      store<u32>(ptr, <u32>record.remote0, 12);
      store<u32>(ptr, <u32>record.local0, 16);
    } else {
      store<u64>(ptr, record.remote0, 8);
      store<u64>(ptr, record.remote1, 16);
      store<u64>(ptr, record.local0, 24);
      store<u64>(ptr, record.local1, 32);
    }
    descriptor.peer = work.key;
    descriptor.flow = flow;
    descriptor.record = state;
    descriptor.verdict = <u16>Verdict.HANDBACK;
  }
  countMany(Counter.HANDED_BACK, <u64>(index - first));
  return index;
}
