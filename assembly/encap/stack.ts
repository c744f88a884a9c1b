/**
 * The one place where encap/ calls tcp/. A packet given to it is checked (ipCheck, tcpCheck) and carries
 * the connection's own addresses.
 */
import { icmpArrives } from "../tcp/pathmtu";
import { tcpInput, tcpRefuse } from "../tcp/tcp";

/** What the stack makes of a packet with `headerLen` bytes before its TCP header: a Verdict. */
export function stackInput(descriptorPtr: usize, headerLen: u32, nowUs: f64): u32 {
  return <u32>tcpInput(descriptorPtr, headerLen, nowUs);
}

/** Queues the RST of RFC 9293 3.10.7.1; without the stack's limit of a second where the connection was `known`. */
export function stackRefuse(descriptorPtr: usize, headerLen: u32, known: bool, nowUs: f64): void {
  tcpRefuse(descriptorPtr, headerLen, known, nowUs);
}

/** An ICMP error about a connection of the stack; icmpCheck left it in ICMP_ERROR. True: it had one. */
export function stackIcmp(tuplePtr: usize, nowUs: f64): bool {
  return icmpArrives(tuplePtr);
}
