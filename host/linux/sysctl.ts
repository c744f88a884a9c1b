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

/** Settings of the whole namespace, by a short name, as they were before Baton changed them. */
export type Saved = Readonly<Record<string, string>>;

/** Short names, because they are kept in the device's alias: see setup.ts. */
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
  keepRouterAdvertisements();
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

/** Undoes the namespace-wide part of `allowForwarding`. */
export function restoreForwarding(saved: Saved): void {
  for (const [short, value] of Object.entries(saved)) {
    const name = GLOBAL[short];
    if (name !== undefined && readSysctl(name) !== undefined) writeSysctl(name, value);
  }
}

/** A host that forwards ignores router advertisements unless accept_ra is 2: it would lose its default route. */
function keepRouterAdvertisements(): void {
  for (const device of devicesOf("ipv6")) {
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
