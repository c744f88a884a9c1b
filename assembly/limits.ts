/**
 * Numbers that bound something: loops over untrusted input, tables, batches. Knows numbers only.
 * Every room appends its own block; a value that the host chooses at start is a Parameter instead.
 */

// wire: what one packet may make us do.

/** IPv6 extension headers walked before a packet is refused (Linux takes 8 of each kind). */
export const EXTENSION_HEADERS_MAX: u32 = 8;
/** Bytes of TCP options: data offset 15 minus the fixed header. */
export const TCP_OPTIONS_LEN_MAX: u32 = 40;
/** SACK blocks that fit the options of one segment (RFC 2018 section 3). */
export const SACK_BLOCKS_MAX: u32 = 4;

// encap

/** Peers of a node, index 0 (this node) included. The mapping table has 13 bits for one. */
export const PEERS_MAX: u32 = 1024;
/** Service addresses of a node, removed ones that still have mappings included. */
export const SERVICES_MAX: u32 = 1024;
/** Resets of R20 that wait for pollTransmit. */
export const RESETS_MAX: u32 = 1024;
/** T_EARLY: how long a packet of an unknown flow waits for its connection. */
export const EARLY_US: f64 = 1_000_000;
/** T_RECORD: how long an ended flow is remembered. */
export const RECORD_US: f64 = 60_000_000;
/** Records that one call of handleTimeout or recordSet expires at most. */
export const EXPIRE_STEPS_MAX: u32 = 256;

// ring

/** Frames of the xdp link, a power of two: four batches at least, 256 MiB at most. */
export const RING_FRAMES_MIN: u32 = 256;
export const RING_FRAMES_MAX: u32 = 65536;
/** Prefixes with a next hop, neighbours included. */
export const HOPS_MAX: u32 = 1024;
