/** Buffers on the way to an upstream, used again once the kernel has taken their bytes. */

export const BUFFER_SIZE = 65_536;
/** Below this a slice of Node's own slab is cheaper than a whole buffer held for it. */
const SMALL_MAX = 4096;
/** Free buffers kept: 4 MiB. */
const FREE_MAX = 64;

const free: Buffer[] = [];

/** A buffer for about `length` bytes; never more than BUFFER_SIZE. */
export function takeBuffer(length: number): Buffer {
  if (length <= SMALL_MAX) return Buffer.allocUnsafe(length);
  return free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_SIZE);
}

/** Nothing may look at `buffer` any more. */
export function giveBuffer(buffer: Buffer): void {
  if (buffer.length === BUFFER_SIZE && free.length < FREE_MAX) free.push(buffer);
}

/**
 * Where all upstream sockets read to: a read is handed on within the same callback, before another can
 * happen. Windows reads ahead into the buffer of each socket, so that there each has its own.
 */
const shared = Buffer.allocUnsafeSlow(BUFFER_SIZE);

export function readBuffer(): Buffer {
  return process.platform === "win32" ? Buffer.allocUnsafeSlow(BUFFER_SIZE) : shared;
}
