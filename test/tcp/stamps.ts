/** Timestamps in tests: what a segment says, and a peer that keeps a clock of its own. */
import type { TcpPacket } from "../support/packet.ts";
import { option } from "../support/packet.ts";
import type { Peer } from "./peer.ts";

/** TSval and TSecr of a segment. */
export function stampOf({ options }: TcpPacket): { value: number; echo: number } {
  const found = options.find(({ kind }) => kind === 8);
  if (found === undefined) throw new Error("no timestamps");
  const view = new DataView(found.bytes.buffer, found.bytes.byteOffset);
  return { value: view.getUint32(0), echo: view.getUint32(4) };
}

export const isStamped = ({ options }: TcpPacket) => options.some(({ kind }) => kind === 8);

/** TSval of the core's last segment. */
export function lastValue(peer: Peer): number {
  return stampOf(peer.sent.at(-1)!.packet).value;
}

/** From now on the peer's segments carry the time in milliseconds, and echo the core's last segment. */
export function stamps(peer: Peer, start = 1000): void {
  peer.options = () => option.timestamps(start + Math.floor(peer.now / 1000), lastValue(peer));
}
