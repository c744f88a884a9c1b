/** The choice of a queue once more, slow and from docs/queues.md: what tests compare the kernel's choice with. */
export interface Steering {
  /** By queue. */
  readonly tunnels: readonly (readonly Uint8Array[])[];
  readonly key: Uint8Array;
}

/** The queue of a packet; undefined where nothing names a client. */
export function queueOf(packet: Uint8Array, steering: Steering): number | undefined {
  const version = packet[0]! >> 4;
  const isV4 = version === 4;
  if ((!isV4 && version !== 6) || packet.length < (isV4 ? 20 : 40)) return undefined;
  const { tunnels } = steering;
  const [from, to] = isV4 ? [12, 16] : [8, 24];
  const bytes = isV4 ? 4 : 16;
  if (isV4 && (packet[6]! & 0x3f || packet[7])) return undefined;
  const destination = packet.slice(to, to + bytes);
  const own = tunnels.findIndex((all) => all.some((one) => same(one, destination)));
  if (own >= 0) return own;
  const { next, at } = transportOf(packet, isV4);
  if (next === 253 && isV4 && packet.slice(from, to).every((byte) => byte === 0)) return packet[5];
  if (next === 6 && packet.length >= at + 2) {
    return clientQueue(packet.slice(from, to), packet[at]! * 256 + packet[at + 1]!, steering);
  }
  const types = isV4 ? [3, 11, 12] : [1, 2, 3, 4];
  if (next !== (isV4 ? 1 : 58) || !types.includes(packet[at] ?? -1)) return undefined;
  return quotedQueue(packet.slice(at + 8), isV4, steering);
}

function quotedQueue(quoted: Uint8Array, isV4: boolean, steering: Steering): number | undefined {
  if (quoted.length < (isV4 ? 20 : 40) || quoted[0]! >> 4 !== (isV4 ? 4 : 6)) return undefined;
  if (isV4 && (quoted[6]! & 0x1f || quoted[7])) return undefined;
  const { next, at } = transportOf(quoted, isV4);
  if (next !== 6 || quoted.length < at + 4) return undefined;
  const to = isV4 ? 16 : 24;
  const client = quoted.slice(to, to + (isV4 ? 4 : 16));
  return clientQueue(client, quoted[at + 2]! * 256 + quoted[at + 3]!, steering);
}

const NOTHING = { next: -1, at: 0 };

function transportOf(packet: Uint8Array, isV4: boolean): { next: number; at: number } {
  if (isV4) {
    const at = (packet[0]! & 15) * 4;
    return at < 20 ? NOTHING : { next: packet[9]!, at };
  }
  let next = packet[6]!;
  let at = 40;
  for (let count = 0; count < 8; count += 1) {
    const isHop = next === 0 && count === 0;
    if (!isHop && next !== 43 && next !== 44 && next !== 60) return { next, at };
    const header = packet.slice(at, at + 8);
    if (header.length < 8) return NOTHING;
    if (next === 44 && (header[2]! || header[3]! & 0xf9)) return NOTHING;
    at += next === 44 ? 8 : (header[1]! + 1) * 8;
    next = header[0]!;
  }
  return NOTHING;
}

/** Of a client's address and port. */
export function clientQueue(address: Uint8Array, port: number, { key, tunnels }: Steering): number {
  const seeds = new DataView(key.buffer, key.byteOffset);
  const view = new DataView(address.buffer, address.byteOffset);
  let hash = seeds.getUint32(0, true);
  for (let at = 0; at < address.length; at += 4) {
    hash = Math.imul(hash ^ view.getUint32(at, true), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  hash ^= ((port & 0xff) << 8) | (port >>> 8);
  hash = Math.imul(hash ^ seeds.getUint32(4, true), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash = (hash ^ (hash >>> 16)) >>> 0;
  return Math.floor((hash * tunnels.length) / 2 ** 32);
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
