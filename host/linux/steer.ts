/**
 * The XDP program: IPv4 and IPv6 packets for a set of destination addresses go to an AF_XDP socket, everything else to
 * the kernel. Knows Ethernet and IP headers as far as the destination; must not know what an address is for.
 *
 *   frame long enough for Ethernet and IP, to this device's MAC address, IPv4 or IPv6 without a VLAN tag
 *     -> destination in the family's map -> socket of the packet's queue; without one, or otherwise: XDP_PASS
 */
import type { Instruction } from "./assembler.ts";
import {
  add,
  assemble,
  call,
  exit,
  jump,
  jumpIf,
  jumpIfRegister,
  label,
  load,
  loadMap,
  move,
  set,
  store,
} from "./assembler.ts";
import { XDP_PASS } from "./bpf.ts";
import {
  ETHER_TYPE,
  IPV4,
  IPV4_DESTINATION,
  IPV4_END,
  IPV6,
  IPV6_DESTINATION,
  IPV6_END,
  MAP_LOOKUP,
} from "./frame.ts";

export interface SteerMaps {
  /** Descriptor of a hash map by IPv4 address, four bytes in network order. */
  readonly addresses4: number;
  /** By IPv6 address. */
  readonly addresses6: number;
  /** Of an XSKMAP by queue. */
  readonly sockets: number;
}

const REDIRECT_MAP = 51;
/** struct xdp_md */
const DATA = 0;
const DATA_END = 4;
const QUEUE = 16;

/** The program for a device with this MAC address (6 bytes). */
export function steerProgram(maps: SteerMaps, mac: Uint8Array): Uint8Array {
  const view = new DataView(mac.buffer, mac.byteOffset);
  const program: Instruction[] = [
    move(6, 1),
    load(4, 2, 1, DATA),
    load(4, 3, 1, DATA_END),
    ...requireBytes(IPV4_END),
    // A switch may flood frames of other hosts: the address in this one is not ours to answer.
    load(4, 5, 2, 0),
    jumpIf(5, "notEqual", view.getInt32(0, true), "pass"),
    load(2, 5, 2, 4),
    jumpIf(5, "notEqual", view.getUint16(4, true), "pass"),
    load(2, 5, 2, ETHER_TYPE),
    jumpIf(5, "equal", IPV4, "ipv4"),
    jumpIf(5, "notEqual", IPV6, "pass"),
    ...requireBytes(IPV6_END),
    load(8, 4, 2, IPV6_DESTINATION),
    store(8, 10, -16, 4),
    load(8, 4, 2, IPV6_DESTINATION + 8),
    store(8, 10, -8, 4),
    ...lookUp(maps.addresses6, -16),
    jumpIf(0, "equal64", 0, "pass"),
    jump("redirect"),
    label("ipv4"),
    load(4, 4, 2, IPV4_DESTINATION),
    store(4, 10, -4, 4),
    ...lookUp(maps.addresses4, -4),
    jumpIf(0, "equal64", 0, "pass"),
    label("redirect"),
    load(4, 2, 6, QUEUE),
    ...loadMap(1, maps.sockets),
    // The action for a queue without a socket.
    set(3, XDP_PASS),
    call(REDIRECT_MAP),
    exit(),
    label("pass"),
    set(0, XDP_PASS),
    exit(),
  ];
  return assemble(program);
}

/** r2: the frame, r3: its end. */
function requireBytes(length: number): Instruction[] {
  return [move(4, 2), add(4, length), jumpIfRegister(4, "above64", 3, "pass")];
}

/** r0 := the entry for the key at `offset` of the stack, or 0. */
function lookUp(map: number, offset: number): Instruction[] {
  return [move(2, 10), add(2, offset), ...loadMap(1, map), call(MAP_LOOKUP)];
}
