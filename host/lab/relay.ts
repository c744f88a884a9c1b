/**
 * The middlebox of one path, inside the router's namespace: policy routing sends the packets of each
 * direction into a TUN device of its own, this process impairs them and writes them back. Knows TUN
 * and routing rules; must not know TCP. Usage: relay JSON; talks JSON lines (middlebox.ts).
 *
 *   from the node: its veth -> rule "iif NODE"      -> mbupN   -> back in -> main table
 *   to the node:   any      -> rule "to ITS PREFIX" -> mbdownN -> back in -> main table -> its veth
 *
 * Only while nothing happens to single packets does the kernel hand over 64 KiB segments. Otherwise
 * it splits them and finishes their checksums before they come here, so that loss counts in packets
 * of wire size and a flipped bit stays wrong. Devices elsewhere keep their offloads. When this
 * process dies its devices vanish, the rules find empty tables, and packets pass untouched.
 */
import { spawnSync } from "node:child_process";
import { readSync, writeFileSync, writeSync } from "node:fs";
import { BatonError } from "../errors.ts";
import { openTunDevice, setTunOffload } from "../linux/device.ts";
import { EAGAIN } from "../linux/errno.ts";
import { libc, POLLIN, type Libc } from "../linux/libc.ts";
import { Impairer, type ImpairCounters, type Impairment } from "./impair.ts";

export interface RelayOptions {
  /** The router's device towards the node. */
  readonly device: string;
  readonly index: number;
  readonly prefixes: readonly string[];
  readonly mtu: number;
  readonly seed: number;
  readonly setting: RelaySetting;
}

export interface RelaySetting {
  readonly up: Impairment;
  readonly down: Impairment;
  readonly offload: boolean;
}

export interface DirectionCounters extends ImpairCounters {
  /** The kernel did not take it back. */
  refused: number;
}

export interface RelayCounters {
  readonly up: DirectionCounters;
  readonly down: DirectionCounters;
}

export type RelayRequest = { id: number; setting?: RelaySetting };
export type RelayReply = { id: number; counters: RelayCounters };

const VNET_BYTES = 10;
const BUFFER_BYTES = 65536 + VNET_BYTES;
const QUEUE_LEN = 10_000;
/** Reads of one device before the other has its turn. */
const READS_MAX = 64;
const SLEEP_US_MAX = 1_000_000;
const STDIN = 0;
const STDOUT = 1;
const IDS = { up: 1, down: 2 } as const;

class Direction {
  readonly device: string;
  readonly fd: number;
  readonly impairer: Impairer;
  refused = 0;
  readonly #libc: Libc;
  readonly #buffer: Uint8Array;
  readonly #address: number;

  constructor(kind: "up" | "down", options: RelayOptions) {
    this.#libc = libc();
    this.#buffer = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
    this.#address = this.#libc.address(this.#buffer);
    this.device = `mb${kind}${options.index}`;
    const { offload } = options.setting;
    this.fd = openTunDevice({ name: this.device, kind: "tun", vnetHeader: true, offload }).fd;
    this.impairer = new Impairer(options.setting[kind], options.seed * 4 + IDS[kind]);
  }

  /** Takes what waits; true when there may be more. */
  receive(nowUs: number): boolean {
    for (let reads = 0; reads < READS_MAX; reads += 1) {
      const length = this.#libc.read(this.fd, this.#address, BUFFER_BYTES);
      if (length === -EAGAIN) return false;
      if (length <= VNET_BYTES)
        throw new BatonError("ERR_BATON_LAB", `${this.device}: read ${length}`);
      if (isMulticast(this.#buffer)) continue;
      const bytes = new Uint8Array(length);
      bytes.set(this.#buffer.subarray(0, length));
      this.impairer.handlePacket(bytes, VNET_BYTES, nowUs);
    }
    return true;
  }

  /** The virtio header goes back as it came. */
  transmit(nowUs: number): void {
    for (;;) {
      const bytes = this.impairer.pollPacket(nowUs);
      if (bytes === undefined) return;
      this.#buffer.set(bytes);
      if (this.#libc.write(this.fd, this.#address, bytes.length) < 0) this.refused += 1;
    }
  }

  get counters(): DirectionCounters {
    return { ...this.impairer.counters, refused: this.refused };
  }
}

/** The kernel's own announcements on the device; no router forwards them, so none is of the path. */
function isMulticast(buffer: Uint8Array): boolean {
  const isV4 = buffer[VNET_BYTES]! >> 4 === 4;
  return isV4 ? buffer[VNET_BYTES + 16]! >> 4 === 14 : buffer[VNET_BYTES + 24] === 0xff;
}

const options = JSON.parse(process.argv[2] ?? "") as RelayOptions;
const up = new Direction("up", options);
const down = new Direction("down", options);
/** A request whose end has not come yet. */
let partial = "";
configure();
say({ id: 0, counters: counters() });
run();

/** A process of its own: it may block. */
function run(): void {
  // struct pollfd: int fd; short events, revents.
  const shorts = new Int16Array(12);
  const ints = new Int32Array(shorts.buffer);
  [up.fd, down.fd, STDIN].forEach((fd, index) => {
    ints[index * 2] = fd;
    shorts[index * 4 + 2] = POLLIN;
  });
  const c = libc();
  const address = c.address(new Uint8Array(shorts.buffer));
  for (;;) {
    const start = nowUs();
    const isMore = [up.receive(start), down.receive(start)].includes(true);
    const now = nowUs();
    up.transmit(now);
    down.transmit(now);
    const next = Math.min(up.impairer.nextTimeoutUs(), down.impairer.nextTimeoutUs());
    const sleepUs = isMore ? 0 : Math.min(Math.max(0, next - nowUs()), SLEEP_US_MAX);
    shorts[11] = 0;
    c.ppoll(address, 3, sleepUs);
    if (shorts[11] !== 0 && !readRequests()) break;
  }
  ip(4, rules(4, "del"));
  ip(6, rules(6, "del"));
}

function nowUs(): number {
  return performance.now() * 1000;
}

/** False at the end of the input. */
function readRequests(): boolean {
  const buffer = Buffer.alloc(65536);
  const length = readSync(STDIN, buffer);
  if (length === 0) return false;
  const lines = (partial + buffer.toString("utf8", 0, length)).split("\n");
  partial = lines.pop() ?? "";
  for (const line of lines) {
    const { id, setting } = JSON.parse(line) as RelayRequest;
    if (setting !== undefined) change(setting);
    say({ id, counters: counters() });
  }
  return true;
}

function change(setting: RelaySetting): void {
  for (const [direction, impairment] of [
    [up, setting.up],
    [down, setting.down],
  ] as const) {
    setTunOffload(direction.fd, setting.offload);
    direction.impairer.change(impairment);
  }
}

function counters(): RelayCounters {
  return { up: up.counters, down: down.counters };
}

function say(reply: RelayReply): void {
  writeSync(STDOUT, JSON.stringify(reply) + "\n");
}

/** Devices first, rules last: packets turn off only when everything stands. */
function configure(): void {
  const devices = [up, down].map(({ device }) => device);
  ip(
    4,
    devices.map((device) => `link set ${device} mtu ${options.mtu} txqueuelen ${QUEUE_LEN} up`),
  );
  for (const device of devices) {
    // The router's own ICMP errors pass here too and come back with its address.
    writeFileSync(`/proc/sys/net/ipv4/conf/${device}/accept_local`, "1");
    writeFileSync(`/proc/sys/net/ipv4/conf/${device}/rp_filter`, "0");
  }
  for (const family of [4, 6] as const) {
    const routes = devices.map(
      (device, at) => `route add default dev ${device} table ${table(at)}`,
    );
    ip(family, [...routes, ...rules(family, "add")]);
  }
}

function table(direction: number): number {
  return 1000 * (direction + 1) + options.index;
}

/** What has been through `down` goes out; then each node's packets go `up`, then `down`. */
function rules(family: 4 | 6, verb: "add" | "del"): string[] {
  const { index, device } = options;
  const prefixes = options.prefixes.filter((prefix) => prefix.includes(":") === (family === 6));
  return [
    `rule ${verb} pref ${1000 + index} iif ${down.device} lookup main`,
    `rule ${verb} pref ${2000 + index} iif ${device} lookup ${table(0)}`,
    ...prefixes.map((to) => `rule ${verb} pref ${3000 + index} to ${to} lookup ${table(1)}`),
  ];
}

function ip(family: 4 | 6, lines: readonly string[]): void {
  const input = lines.join("\n") + "\n";
  const result = spawnSync("ip", [`-${family}`, "-batch", "-"], { input, encoding: "utf8" });
  if (result.status === 0) return;
  const got = result.error?.message ?? result.stderr.trim().replaceAll("\n", "; ");
  throw new BatonError("ERR_BATON_LAB", `middlebox set-up: expected success of ip, got ${got}`);
}
