/**
 * Kernel settings under /proc/sys/net of this network namespace. Knows which ones stand in the way of
 * a node and how to change them without weakening another device; must not know devices' purposes.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { BatonError } from "../errors.ts";

const ROOT = "/proc/sys/net";

/** The value, trimmed; undefined when this kernel does not have the setting. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(`${ROOT}/${name}`, "utf8").trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return undefined;
    throw new BatonError(code ?? "ERR_BATON_SYSCTL", `setting net/${name}: ${code}`, {
      cause: error,
    });
  }
}

/** Sets a value; does nothing when it stands already, so that a read-only /proc is no obstacle then. */
export function writeSysctl(name: string, value: string): void {
  if (readSysctl(name) === value) return;
  try {
    writeFileSync(`${ROOT}/${name}`, value);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "ERR_BATON_SYSCTL";
    const message = `setting net/${name}: expected to be allowed to write ${value}, got ${code}`;
    throw new BatonError(code, message, { cause: error });
  }
}

/** Settings by name, as they were before Baton changed them. */
export type Saved = Readonly<Record<string, string>>;

/** Settings of the whole namespace. Short names, because they are kept in the device's alias: see setup.ts. */
const GLOBAL: Readonly<Record<string, string>> = {
  f4: "ipv4/ip_forward",
  f6: "ipv6/conf/all/forwarding",
  rp: "ipv4/conf/all/rp_filter",
};
const WANTED: Saved = { f4: "1", f6: "1", rp: "0" };

/** What `allowForwarding` will change, and from which values. */
export function planForwarding(): Saved {
  const saved: Record<string, string> = {};
  for (const [short, wanted] of Object.entries(WANTED)) {
    const value = readSysctl(GLOBAL[short]!);
    if (value !== undefined && value !== wanted) saved[short] = value;
  }
  return saved;
}

/**
 * Lets packets that a node writes to `device` reach the network: forwarding on, and no reverse path
 * filter on this device (its packets carry source addresses that are routed elsewhere). The filter in
 * force is the maximum of "all" and the device's own, so the value of "all" moves to the other devices.
 */
export function allowForwarding(device: string): void {
  keepRouterAdvertisements(devicesOf("ipv6"));
  const all = Number(readSysctl("ipv4/conf/all/rp_filter") ?? 0);
  for (const other of all > 0 ? devicesOf("ipv4") : []) {
    const own = Number(readSysctl(`ipv4/conf/${other}/rp_filter`) ?? 0);
    if (other !== device && own < all) writeSysctl(`ipv4/conf/${other}/rp_filter`, String(all));
  }
  for (const [short, wanted] of Object.entries(WANTED)) {
    if (readSysctl(GLOBAL[short]!) !== undefined) writeSysctl(GLOBAL[short]!, wanted);
  }
  if (readSysctl(`ipv4/conf/${device}/rp_filter`) !== undefined) {
    writeSysctl(`ipv4/conf/${device}/rp_filter`, "0");
  }
}

/**
 * Lets the kernel answer neighbour requests that arrive at `device` for addresses behind another one, at
 * once. Returns the settings from before, for `restore`.
 */
export function allowProxy(device: string): Saved {
  keepRouterAdvertisements(readSysctl(`ipv6/conf/${device}/forwarding`) === "0" ? [device] : []);
  const wanted: Saved = {
    [`ipv4/conf/${device}/forwarding`]: "1",
    [`ipv6/conf/${device}/forwarding`]: "1",
    [`ipv6/conf/${device}/proxy_ndp`]: "1",
    // The kernel would wait a random time up to 0.8 s, so that a real owner answers first.
    [`ipv4/neigh/${device}/proxy_delay`]: "0",
    [`ipv6/neigh/${device}/proxy_delay`]: "0",
  };
  const saved: Record<string, string> = {};
  for (const [name, value] of Object.entries(wanted)) {
    const before = readSysctl(name);
    if (before === undefined || before === value) continue;
    saved[name] = before;
    writeSysctl(name, value);
  }
  return saved;
}

/** Writes settings back; those of a device that is gone are no more. */
export function restore(saved: Saved): void {
  for (const [name, value] of Object.entries(saved)) {
    if (readSysctl(name) !== undefined) writeSysctl(name, value);
  }
}

/** Undoes the namespace-wide part of `allowForwarding`. */
export function restoreForwarding(saved: Saved): void {
  const known = Object.entries(saved).filter(([short]) => GLOBAL[short] !== undefined);
  restore(Object.fromEntries(known.map(([short, value]) => [GLOBAL[short]!, value])));
}

/**
 * A device that forwards ignores router advertisements unless accept_ra is 2: the host would lose its
 * default route. Call before forwarding is switched on.
 */
function keepRouterAdvertisements(devices: readonly string[]): void {
  for (const device of devices) {
    const name = `ipv6/conf/${device}`;
    if (readSysctl(`${name}/forwarding`) === "0" && readSysctl(`${name}/accept_ra`) === "1") {
      writeSysctl(`${name}/accept_ra`, "2");
    }
  }
}

/** Devices with settings of a family, "default" (devices to come) included, "all" not. */
function devicesOf(family: "ipv4" | "ipv6"): string[] {
  try {
    return readdirSync(`${ROOT}/${family}/conf`).filter((name) => name !== "all");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []; // IPv6 is switched off
    throw error;
  }
}
