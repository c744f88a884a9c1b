/**
 * What works on a machine, what does not and why, and what to do about it. Knows what a node needs; must not
 * know how a machine is asked.
 */
import type { Device, Machine, Trial } from "./system.ts";

/** ok: works. note: a node runs, but something is slower, smaller or to be known. missing: no node runs. */
export type Verdict = "ok" | "note" | "missing";

export interface Finding {
  readonly name: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** Empty when there is nothing to do. */
  readonly advice: string;
}

const NODE_MAJOR_MIN = 20;
const FILES_MIN = 16_384;
const ETHERNET_MTU = 1500;
const FORWARDING = { IPv4: "ipv4/ip_forward", IPv6: "ipv6/conf/all/forwarding" } as const;
const CONNTRACK = "netfilter/nf_conntrack_count";

export function examine(machine: Machine): Finding[] {
  const any = [platform(machine), node(machine), core(machine)];
  if (!isLinux(machine)) return any;
  return [
    ...any,
    trial(machine, "calls", "system calls", "koffi", "npm install koffi"),
    program(machine),
    trial(
      machine,
      "tun",
      "link tun",
      "a TUN device can be opened",
      "run as root, or give CAP_NET_ADMIN",
    ),
    slower(
      machine,
      "segments",
      "64 KiB segments",
      "checksums and TSO on TUN",
      "each packet is read alone",
    ),
    slower(machine, "raw", "--egress raw", "raw sockets", "packets can leave by the device only"),
    xdp(machine),
    ...Object.entries(FORWARDING).map(([family, name]) => forwarding(machine, family, name)),
    reversePath(machine),
    ...machine.devices().map(device),
    pathMtu(machine.devices()),
    slower(
      machine,
      "buffer",
      "datagram buffer",
      "4 MiB may be had",
      "net.core.rmem_max is the limit",
    ),
    slower(
      machine,
      "huge",
      "huge pages",
      "for tables that are full enough",
      "very many connections cost more time a packet",
    ),
    slower(
      machine,
      "cipher",
      "encryption",
      "OpenSSL directly",
      "node:crypto does it, four times slower",
    ),
    connectionTracking(machine),
    clock(machine),
    files(machine),
  ];
}

/** True when a node can run here. */
export function isFit(findings: readonly Finding[]): boolean {
  return findings.every(({ verdict }) => verdict !== "missing");
}

function finding(name: string, verdict: Verdict, found: string, advice = ""): Finding {
  return { name, verdict, found, advice };
}

function isLinux({ platform }: Machine): boolean {
  return platform.startsWith("linux ");
}

function platform(machine: Machine): Finding {
  const { platform } = machine;
  if (isLinux(machine)) return finding("platform", "ok", platform);
  return finding("platform", "missing", platform, "a node needs Linux; the simulator runs here");
}

function node({ node }: Machine): Finding {
  const isNew = Number(/^v(\d+)\./.exec(node)?.[1]) >= NODE_MAJOR_MIN;
  if (isNew) return finding("Node", "ok", node);
  return finding("Node", "missing", node, `install Node ${NODE_MAJOR_MIN} or later`);
}

/** Nothing runs without it. */
function trial(
  machine: Machine,
  what: Trial,
  name: string,
  works: string,
  advice: string,
): Finding {
  const reason = machine.try(what);
  return reason === undefined
    ? finding(name, "ok", works)
    : finding(name, "missing", reason, advice);
}

/** Something else does the same, or part of it. */
function slower(
  machine: Machine,
  what: Trial,
  name: string,
  works: string,
  without: string,
): Finding {
  const reason = machine.try(what);
  return reason === undefined ? finding(name, "ok", works) : finding(name, "note", reason, without);
}

function core(machine: Machine): Finding {
  const reason = machine.try("simd");
  if (reason === undefined) return finding("core", "ok", "the build with SIMD");
  return finding("core", "missing", reason, "the daemons need it; core-baseline.wasm does not");
}

function program(machine: Machine): Finding {
  if (machine.hasProgram("ip")) return finding("iproute2", "ok", "the program ip");
  return finding("iproute2", "missing", "no program ip", "install iproute2");
}

function xdp(machine: Machine): Finding {
  const reason = machine.try("xdp");
  if (reason === undefined) return finding("link xdp", "ok", "AF_XDP, and eBPF programs are taken");
  return finding("link xdp", "note", reason, "nodes run by tun; --link xdp:DEVICE does not work");
}

/** A node turns it on itself, where it may. */
function forwarding(machine: Machine, family: string, name: string): Finding {
  const value = machine.setting(name);
  const title = `${family} forwarding`;
  if (value === undefined)
    return finding(title, "note", `no ${family} here`, "services of this family cannot be had");
  if (value === "1") return finding(title, "ok", "on");
  if (machine.maySet(name)) return finding(title, "ok", "off; a node turns it on while it runs");
  return finding(title, "missing", "off", `sysctl net.${name.replaceAll("/", ".")}=1`);
}

function reversePath(machine: Machine): Finding {
  const name = "ipv4/conf/all/rp_filter";
  const value = machine.setting(name) ?? "0";
  if (value === "0") return finding("rp_filter", "ok", "off for all devices together");
  const found = value === "1" ? "strict for all devices" : "loose for all devices";
  if (machine.maySet(name)) {
    return finding("rp_filter", "ok", `${found}; a node moves it to each device but its own`);
  }
  const advice = "packets that a node writes would be dropped: net.ipv4.conf.all.rp_filter=0";
  return finding("rp_filter", "missing", found, advice);
}

function device({ name, mtu, without }: Device): Finding {
  const found = `MTU ${mtu}${without.length === 0 ? "" : `, without ${without.join(", ")}`}`;
  const advice = "offloads that are off cost processor time";
  return without.length === 0
    ? finding(`device ${name}`, "ok", found)
    : finding(`device ${name}`, "note", found, advice);
}

/** Packets keep their length from client to backend: a path between nodes must not be narrower. */
function pathMtu(devices: readonly Device[]): Finding {
  const sizes = devices.map(({ mtu }) => mtu);
  const least = Math.min(...sizes);
  if (sizes.length === 0) return finding("MTU", "note", "no device is up", "connect this machine");
  if (least >= ETHERNET_MTU) return finding("MTU", "ok", `${least} or more`);
  const advice = `where nodes are joined by it: --mtu ${least} at every node`;
  return finding("MTU", "note", `${least} at the narrowest device`, advice);
}

function connectionTracking(machine: Machine): Finding {
  const tracked = machine.setting(CONNTRACK);
  if (tracked === undefined) return finding("conntrack", "ok", "not in this namespace");
  const advice = "service and tunnel addresses want notrack, where rules use the state";
  return finding("conntrack", "note", `${tracked} connections tracked`, advice);
}

/** Initial sequence numbers and timestamps go by it; classifiers must agree (docs/design.md). */
function clock(machine: Machine): Finding {
  const isSynchronised = machine.isClockSynchronised();
  if (isSynchronised === true) return finding("clock", "ok", "synchronised");
  const advice =
    "nodes must agree on the time within seconds: run an NTP client here, or on the host";
  if (isSynchronised === false) return finding("clock", "note", "nobody synchronises it", advice);
  return finding("clock", "note", "cannot be asked", advice);
}

/** `--upstream` needs one for each connection. */
function files(machine: Machine): Finding {
  const limit = machine.filesMax();
  const found = `${limit} open files for a process`;
  if (limit >= FILES_MIN) return finding("files", "ok", found);
  return finding("files", "note", found, "a backend with --upstream opens one for each connection");
}
