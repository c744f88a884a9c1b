/**
 * A TUN device's life around its descriptor: found again after a crash, configured, taken away. Knows
 * iproute2 and the settings a device needs; must not know packets. Everything here is idempotent.
 *
 * The device's alias is the whole memory of it: "baton" marks it as ours, and "f4=0,..." are the
 * namespace's settings from before, so that whoever removes the last device can restore them.
 */
import { existsSync } from "node:fs";
import { BatonError } from "../errors.ts";
import { ipBatch, ipJson } from "./ip.ts";
import { removeProxies } from "./proxy.ts";
import { installRoutes, removeAllRoutes, removeGatewayRoutes, type Route } from "./route.ts";
import {
  allowForwarding,
  planForwarding,
  restoreForwarding,
  type Saved,
  writeSysctl,
} from "./sysctl.ts";

const ALIAS = "baton";

export interface DeviceSetup {
  readonly name: string;
  readonly mtu: number;
  /** Packets that the kernel keeps for a reader that is late. */
  readonly queueLen: number;
  readonly routes: readonly Route[];
  /** Whether packets written to the device shall be forwarded: see allowForwarding. */
  readonly forward: boolean;
}

interface TunState {
  readonly name: string;
  readonly saved: Saved;
}

/**
 * Clears the way for a device with a virtio_net_hdr, of several queues or one: a leftover of ours that cannot be
 * attached to is removed. True when a device of that name is there to attach to.
 */
export function claimDevice(name: string, multiQueue = false): boolean {
  const entry = links().find((link) => link.ifname === name);
  if (!entry) return false;
  const info = (entry.linkinfo ?? {}) as {
    info_kind?: string;
    info_data?: Record<string, unknown>;
  };
  const { type, pi, vnet_hdr: vnet, multi_queue: multi, numqueues = 0 } = info.info_data ?? {};
  // Several processes may have queues of one device: only the first would have those that packets are steered to.
  if (info.info_kind === "tun" && multi && Number(numqueues) > 0) throw inUse(name);
  const fits = type === "tun" && !pi && vnet && Boolean(multi) === multiQueue;
  if (info.info_kind === "tun" && fits) return true;
  if (info.info_kind === "tun" && savedOf(entry) !== undefined) {
    ipBatch([`link del dev ${name}`]);
    return false;
  }
  const got = info.info_kind === "tun" ? "one with other flags" : (info.info_kind ?? "another");
  const message = `device ${name}: expected none or a TUN device with vnet_hdr, got ${got}`;
  throw new BatonError("ERR_BATON_BUSY", message);
}

function inUse(name: string): BatonError {
  const got = "one that another process has";
  return new BatonError("EBUSY", `tun ${name}: expected a device that nobody uses, got ${got}`);
}

/** Configures a device that this process is attached to, and brings it up. */
export function setUpDevice(setup: DeviceSetup): void {
  const { name, mtu, queueLen, forward } = setup;
  const own = ourDevices().find((device) => device.name === name);
  // What a predecessor found is the truth; what it left behind is not.
  const saved = { ...(forward ? planForwarding() : {}), ...own?.saved };
  const ipv6 = existsSync("/proc/sys/net/ipv6");
  ipBatch([
    `link set dev ${name} alias ${aliasOf(saved)}`,
    `link set dev ${name} mtu ${mtu} txqueuelen ${queueLen}`,
    ...(ipv6 ? [`link set dev ${name} addrgenmode none`] : []),
    `link set dev ${name} up`,
  ]);
  if (ipv6) writeSysctl(`ipv6/conf/${name}/accept_ra`, "0");
  if (forward) allowForwarding(name);
  installRoutes(name, setup.routes);
}

/** Removes what outlives a device that is about to go with its descriptor. */
export function tearDownDevice(name: string, routes: readonly Route[]): void {
  removeGatewayRoutes(routes);
  releaseSettings(name);
}

/** Removes a persistent device of ours and all that belongs to it. False when there was none. */
export function removeDevice(name: string): boolean {
  const devices = ourDevices();
  if (!devices.some((device) => device.name === name)) return false;
  if (devices.length === 1) removeAllRoutes();
  releaseSettings(name);
  ipBatch([`link del dev ${name}`]);
  return true;
}

/**
 * Removes whatever of ours is in this namespace, for `baton down`: devices, routes, proxy entries.
 * Returns the devices' names; a running node loses its device.
 */
export function removeAll(): string[] {
  const names = batonDevices();
  for (const name of names) removeDevice(name);
  removeAllRoutes();
  removeProxies();
  return names;
}

/** Names of the devices in this namespace that carry Baton's mark. */
export function batonDevices(): string[] {
  return ourDevices().map((device) => device.name);
}

/** The last device restores the settings; before that, another one inherits what is to be restored. */
function releaseSettings(name: string): void {
  const devices = ourDevices();
  const saved = devices.find((device) => device.name === name)?.saved ?? {};
  const heir = devices.find((device) => device.name !== name);
  if (!heir) restoreForwarding(saved);
  else ipBatch([`link set dev ${heir.name} alias ${aliasOf({ ...heir.saved, ...saved })}`]);
}

function ourDevices(): TunState[] {
  return links().flatMap((entry) => {
    const saved = savedOf(entry);
    return saved === undefined ? [] : [{ name: String(entry.ifname), saved }];
  });
}

/** Not from /sys: that shows the namespace it was mounted in, not ours. */
function links(): Record<string, unknown>[] {
  return ipJson(["-details", "link", "show"]);
}

function aliasOf(saved: Saved): string {
  return [ALIAS, ...Object.entries(saved).map(([name, value]) => `${name}=${value}`)].join(",");
}

/** The settings in a device's alias; undefined when the device is not ours. */
function savedOf(entry: Record<string, unknown>): Saved | undefined {
  const [mark, ...pairs] = String(entry.ifalias ?? "").split(",");
  if (mark !== ALIAS) return undefined;
  return Object.fromEntries(pairs.map((pair) => pair.split("=")).filter((pair) => pair[1]));
}
