/**
 * Which link a node has, and what that means for its core. Knows the links; must not know roles.
 */
import type { NodeConfig } from "../config/config.ts";
import type { Core } from "../core/core.ts";
import type { CoreParameters } from "../core/parameters.ts";
import type { Link } from "../link/link.ts";
import { openRaw } from "../link/raw.ts";
import { openTun, openTunQueue } from "../link/tun.ts";
import { openXdp, xdpParameters } from "../link/xdp.ts";
import type { Route } from "../linux/route.ts";

export interface Links {
  readonly link: Link;
  readonly egress: Link | undefined;
}

/** A queue of a device that another process has set up. */
export interface DeviceQueue {
  readonly fd: number;
  readonly queue: number;
  readonly mtu: number;
}

export interface LinkOptions {
  readonly core: Core;
  /** The device outlives this process: established connections survive a restart. */
  readonly persist: boolean;
  /** Addresses whose packets belong to this node's link. */
  readonly routes: readonly Route[];
  /** Instead of a device of its own. */
  readonly queue?: DeviceQueue | undefined;
}

/** Of every link, unless the configuration says otherwise. */
const MTU = 1500;

/** What the link decides of the core's sizes; `segmenting`: the role would have its packets cut by the link. */
export function sizesFor(
  { link, egress }: NodeConfig,
  segmenting: boolean,
): Partial<CoreParameters> & { readonly segmenting: boolean } {
  if (link.kind === "tun") return { segmenting: segmenting && egress === "tun" };
  return { segmenting: false, ...xdpParameters(link.device) };
}

export async function openLinks(config: NodeConfig, options: LinkOptions): Promise<Links> {
  const { link, mtu } = config;
  if (link.kind === "tun") return openTunLinks(config, options);
  const addresses = options.routes.map(({ to }) => to);
  const { core } = options;
  return {
    link: await openXdp({ device: link.device, core, mtu: mtu ?? MTU, addresses }),
    egress: undefined,
  };
}

/** A raw socket cuts no super-packet, so with that egress the device must not deliver any either. */
export function isSegmenting({ egress }: NodeConfig): boolean {
  return egress === "tun";
}

async function openTunLinks(
  config: NodeConfig,
  { persist, routes, queue }: LinkOptions,
): Promise<Links> {
  const mtu = config.mtu === undefined ? {} : { mtu: config.mtu };
  const egress = config.egress === "raw" ? openRaw(mtu) : undefined;
  try {
    const offload = isSegmenting(config);
    const name = config.link.device;
    const link =
      queue === undefined
        ? await openTun({ name, persist, routes, offload, ...mtu })
        : await openTunQueue({ name, offload, ...queue });
    return { link, egress };
  } catch (error) {
    egress?.close();
    throw error;
  }
}
