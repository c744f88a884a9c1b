/**
 * Routes to service and tunnel addresses. Knows how to install exactly the wanted ones, again after a
 * crash, and never over somebody else's; must not know what the addresses mean. Baton's own routes
 * carry ROUTE_PROTOCOL.
 */
import { BatonError } from "../errors.ts";
import { parsePrefix, type Prefix, prefixText } from "./address.ts";
import { ipBatch, ipJson, ROUTE_PROTOCOL } from "./ip.ts";

export interface Route {
  /** "10.0.0.100" or "fd00::/64". */
  readonly to: string;
  /** A gateway's address; without it the route leads to the device. */
  readonly via?: string;
}

interface Found {
  readonly prefix: string;
  readonly device: string;
  readonly via: string;
  readonly ours: boolean;
}

/**
 * Makes the wanted routes the only ones of ours that lead to `device`. ERR_BATON_BUSY when an address
 * belongs to this kernel or is routed elsewhere.
 */
export function installRoutes(device: string, routes: readonly Route[]): void {
  const wanted = routes.map((route) => ({ prefix: parsePrefix(route.to), via: route.via ?? "" }));
  refuseLocal(wanted.map(({ prefix }) => prefix));
  const found = allRoutes();
  const lines: string[] = [];
  for (const { prefix, via } of wanted) {
    const text = prefixText(prefix);
    const same = found.filter((route) => route.prefix === text);
    for (const route of same) refuseOther(route, device, via);
    lines.push(`route replace ${text} ${via ? `via ${via}` : `dev ${device}`} ${OURS}`);
  }
  const keep = new Set(wanted.filter(({ via }) => !via).map(({ prefix }) => prefixText(prefix)));
  const stale = found.filter(
    (route) => route.ours && route.device === device && !route.via && !keep.has(route.prefix),
  );
  ipBatch([...lines, ...stale.map(deletion)]);
}

const OURS = `proto ${ROUTE_PROTOCOL}`;

/** Removes those of the routes that lead through a gateway; a device's own go with the device. */
export function removeGatewayRoutes(routes: readonly Route[]): void {
  const prefixes = new Set(
    routes.filter(({ via }) => via !== undefined).map(({ to }) => prefixText(parsePrefix(to))),
  );
  if (prefixes.size === 0) return;
  ipBatch(
    allRoutes()
      .filter((route) => route.ours && prefixes.has(route.prefix))
      .map(deletion),
  );
}

/** Removes every route of ours in this namespace. */
export function removeAllRoutes(): void {
  ipBatch(
    allRoutes()
      .filter((route) => route.ours)
      .map(deletion),
  );
}

/** "10.0.0.100/32" and the like: whatever a running node has routed to itself. */
export function ourPrefixes(): Set<string> {
  return new Set(
    allRoutes()
      .filter((route) => route.ours)
      .map(({ prefix }) => prefix),
  );
}

function deletion(route: Found): string {
  return `route del ${route.prefix} dev ${route.device} ${OURS}`;
}

function allRoutes(): Found[] {
  const families = [4, 6] as const;
  return families.flatMap((family) =>
    ipJson([`-${family}`, "route", "show", "table", "main"])
      // Other types of route ("unreachable") have no device.
      .filter((entry) => typeof entry.dst === "string" && typeof entry.dev === "string")
      .map((entry) => ({
        prefix: prefixOf(String(entry.dst), family),
        device: String(entry.dev),
        via: typeof entry.gateway === "string" ? entry.gateway : "",
        ours: String(entry.protocol) === String(ROUTE_PROTOCOL),
      })),
  );
}

function prefixOf(dst: string, family: 4 | 6): string {
  if (dst === "default") return family === 4 ? "0.0.0.0/0" : "::/0";
  return prefixText(parsePrefix(dst));
}

function refuseOther(route: Found, device: string, via: string): void {
  const fits = via === "" ? route.device === device && route.via === "" : route.ours;
  if (fits || (via !== "" && route.via === via)) return;
  const got = `a route to it by ${route.via || route.device}${route.ours ? " (baton down removes it)" : ""}`;
  throw new BatonError("ERR_BATON_BUSY", `address ${route.prefix}: expected it free, got ${got}`);
}

/** ERR_BATON_BUSY when this kernel has one of the addresses itself. */
export function checkFree(addresses: readonly string[]): void {
  refuseLocal(addresses.map(parsePrefix));
}

/** No kernel may own a service or tunnel address: it would answer our packets with resets. */
function refuseLocal(prefixes: readonly Prefix[]): void {
  const owners = new Map<string, string>();
  for (const link of ipJson(["address", "show"])) {
    for (const entry of (link.addr_info ?? []) as { local?: unknown }[]) {
      const local = String(entry.local);
      owners.set(prefixText(parsePrefix(local)), String(link.ifname));
    }
  }
  for (const prefix of prefixes) {
    const owner = owners.get(prefixText(prefix));
    if (owner === undefined) continue;
    const message = `address ${prefix.address}: expected one that no device has, got one of ${owner}`;
    throw new BatonError("ERR_BATON_BUSY", message);
  }
}
