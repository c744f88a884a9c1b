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
