/**
 * The flags of a connection block in the words of the blob and back. Knows both; the blob's bits must not
 * change when the block's do.
 */
import { Flag } from "../tcp/tcb";
import { BlobFlag, BlobOff, SocketFlag } from "./format";

/** The part of a block's flags that travels. */
export function fromTcbFlags(flags: u32): u32 {
  return (
    bit(flags, Flag.TIMESTAMPS, BlobFlag.TIMESTAMPS) |
    bit(flags, Flag.SACK, BlobFlag.SACK) |
    bit(flags, Flag.WINDOW_SCALE, BlobFlag.WINDOW_SCALE) |
    bit(flags, Flag.ECN, BlobFlag.ECN) |
    bit(flags, Flag.PASSIVE, BlobFlag.PASSIVE) |
    bit(flags, Flag.FIN_QUEUED, BlobFlag.FIN_QUEUED) |
    bit(flags, Flag.FIN_SENT, BlobFlag.FIN_SENT) |
    bit(flags, Flag.FIN_SEEN, BlobFlag.FIN_SEEN) |
    bit(flags, Flag.FIN_RECEIVED, BlobFlag.FIN_RECEIVED) |
    bit(flags, Flag.URGENT_IN, BlobFlag.URGENT_IN) |
    bit(flags, Flag.URGENT_OUT, BlobFlag.URGENT_OUT) |
    bit(flags, Flag.HYSTART_CSS, BlobFlag.HYSTART_CSS) |
    bit(flags, Flag.REORDERED, BlobFlag.REORDERED) |
    bit(flags, Flag.ECN_ECHO, BlobFlag.ECN_ECHO) |
    bit(flags, Flag.ECN_CWR, BlobFlag.ECN_CWR)
  );
}

/** A new block's flags from a checked blob. */
export function toTcbFlags(blobPtr: usize): u32 {
  const flags = load<u32>(blobPtr, BlobOff.FLAGS);
  const socket = load<u32>(blobPtr, BlobOff.SOCKET_FLAGS);
  return (
    bit(socket, SocketFlag.NODELAY, Flag.NODELAY) |
    bit(flags, BlobFlag.TIMESTAMPS, Flag.TIMESTAMPS) |
    bit(flags, BlobFlag.SACK, Flag.SACK) |
    bit(flags, BlobFlag.WINDOW_SCALE, Flag.WINDOW_SCALE) |
    bit(flags, BlobFlag.ECN, Flag.ECN) |
    bit(flags, BlobFlag.PASSIVE, Flag.PASSIVE) |
    bit(flags, BlobFlag.FIN_QUEUED, Flag.FIN_QUEUED) |
    bit(flags, BlobFlag.FIN_SENT, Flag.FIN_SENT) |
    bit(flags, BlobFlag.FIN_SEEN, Flag.FIN_SEEN) |
    bit(flags, BlobFlag.FIN_RECEIVED, Flag.FIN_RECEIVED) |
    bit(flags, BlobFlag.URGENT_IN, Flag.URGENT_IN) |
    bit(flags, BlobFlag.URGENT_OUT, Flag.URGENT_OUT) |
    bit(flags, BlobFlag.HYSTART_CSS, Flag.HYSTART_CSS) |
    bit(flags, BlobFlag.REORDERED, Flag.REORDERED) |
    bit(flags, BlobFlag.ECN_ECHO, Flag.ECN_ECHO) |
    bit(flags, BlobFlag.ECN_CWR, Flag.ECN_CWR)
  );
}

function bit(flags: u32, from: u32, to: u32): u32 {
  return (flags & from) != 0 ? to : 0;
}
