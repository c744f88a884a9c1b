/** A daemon's service addresses in its core. Knows addresses and header lengths; must not know roles. */
import type { ServiceAddress } from "../config/values.ts";
import type { Core } from "../core/core.ts";
import { addressBytes } from "./parts.ts";

/** IP and TCP without options: an MSS counts neither (RFC 6691). */
const HEADER_BYTES = { 4: 40, 6: 60 } as const;

export interface ServiceOptions {
  /** The own stack accepts connections there. */
  readonly listens: boolean;
  readonly ecn: boolean;
}

/** Returns how to announce no larger segments than links of so many bytes take. */
export function addServices(
  core: Core,
  services: readonly ServiceAddress[],
  { listens, ecn }: ServiceOptions,
): (mtu: number) => void {
  const added = services.map(({ address, family, port }) => {
    const index = core.addService(addressBytes(address), port, 0, listens, ecn);
    return { index, headers: HEADER_BYTES[family] };
  });
  return (mtu) => {
    for (const { index, headers } of added) core.setServiceMss(index, mtu - headers);
  };
}
