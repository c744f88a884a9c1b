/**
 * The header of the PROXY protocol, version 2: the client's address in front of the stream, for servers
 * that are asked to believe it. Knows the format only.
 * https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt section 2.2:
 *
 *      0                12   13   14        16
 *     +------------------+----+----+---------+---------------------------------------+
 *     | 0d0a0d0a000d0a51 | 21 | 11 | length  | source, destination: addresses, ports |
 *     | 5549540a         |    | 21 |         |                                       |
 *     +------------------+----+----+---------+---------------------------------------+
 */
import { parseAddress } from "../core/address.ts";
import { BatonError } from "../errors.ts";
import type { ConnectionAddress } from "../node/connection.ts";

const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
/** Version 2, command PROXY. */
const VERSION_COMMAND = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
const HEADER_LENGTH = 16;

/** Both addresses are of one family: they come from one connection. */
export function proxyHeader(source: ConnectionAddress, destination: ConnectionAddress): Buffer {
  const from = addressBytes(source);
  const to = addressBytes(destination);
  if (from.length !== to.length) {
    throw new BatonError(
      "ERR_BATON_ADDRESS",
      `PROXY header: expected one family, got ${source.address} and ${destination.address}`,
    );
  }
  const header = Buffer.alloc(HEADER_LENGTH + 2 * from.length + 4);
  header.set(SIGNATURE);
  header.writeUInt8(VERSION_COMMAND, 12);
  header.writeUInt8(from.length === 4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, 13);
  header.writeUInt16BE(header.length - HEADER_LENGTH, 14);
  header.set(from, HEADER_LENGTH);
  header.set(to, HEADER_LENGTH + from.length);
  header.writeUInt16BE(source.port, header.length - 4);
  header.writeUInt16BE(destination.port, header.length - 2);
  return header;
}

function addressBytes({ address, family }: ConnectionAddress): Uint8Array {
  const bytes = parseAddress(address);
  if (bytes?.length === (family === 4 ? 4 : 16)) return bytes;
  throw new BatonError("ERR_BATON_ADDRESS", `expected an IPv${family} address, got "${address}"`);
}
