/** Places in an Ethernet frame as an eBPF load sees them, and the helper that every program calls. */

/** bpf_map_lookup_elem */
export const MAP_LOOKUP = 1;
export const ETHER_TYPE = 12;
/** EtherTypes as a little-endian load sees them. */
export const IPV4 = 0x0008;
export const IPV6 = 0xdd86;
export const IPV4_SOURCE = 14 + 12;
export const IPV4_DESTINATION = 14 + 16;
export const IPV4_END = 14 + 20;
export const IPV6_DESTINATION = 14 + 24;
export const IPV6_END = 14 + 40;
