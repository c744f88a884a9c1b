/** The steering program, run by the kernel on frames of ours (BPF_PROG_TEST_RUN). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonError } from "../../host/errors.ts";
import { createMap, loadProgram, MapType, updateMap } from "../../host/linux/bpf.ts";
import { deviceIndex } from "../../host/linux/device.ts";
import { libc } from "../../host/linux/libc.ts";
import { steerProgram } from "../../host/linux/steer.ts";
import { ip, privileged } from "../support/namespace.ts";
import { buildTcp, concat, toAddress } from "../support/packet.ts";

const steer = suite("linux/steer");
const check = await privileged(import.meta.url, steer);

const TEST_RUN = 10;
const DEVMAP = 14;
const PASS = 2;
const REDIRECT = 4;
const MAC = Uint8Array.of(2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee);
const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

if (process.env.BATON_TEST_NAMESPACE) ip("link add batonv0 type veth peer name batonv1");

/** The program with one address of each family and a way for queue 0; undefined, and a named skip, without bpf(2). */
function load(name: string): number | undefined {
  try {
    const addresses4 = createMap(MapType.HASH, 4, 4, 1);
    updateMap(addresses4, toAddress("10.0.0.100"), word(1));
    const addresses6 = createMap(MapType.HASH, 16, 4, 1);
    updateMap(addresses6, toAddress("fd00::100"), word(1));
    // A map of devices in place of one of sockets: for the program they are the same.
    const sockets = createMap(DEVMAP, 4, 4, 1);
    updateMap(sockets, word(0), word(deviceIndex("batonv0")));
    return loadProgram(steerProgram({ addresses4, addresses6, sockets }, MAC));
  } catch (error) {
    if (!(error instanceof BatonError) || error.code !== "EPERM") throw error;
    process.stdout.write(`SKIP ${name}: ${error.message}\n`);
    return undefined;
  }
}

/** What the program says of a frame. */
function run(program: number, frame: Uint8Array): number {
  const input = Uint8Array.from(frame);
  const output = new Uint8Array(new ArrayBuffer(2048));
  const attr = new Uint8Array(new ArrayBuffer(80));
  const view = new DataView(attr.buffer);
  view.setUint32(0, program, true);
  view.setUint32(8, input.length, true);
  view.setUint32(12, output.length, true);
  view.setBigUint64(16, BigInt(libc().address(input)), true);
  view.setBigUint64(24, BigInt(libc().address(output)), true);
  libc().bpf(TEST_RUN, attr, "test run");
  return view.getUint32(4, true);
}

function frame(packet: Uint8Array, type: readonly number[], mac = MAC): Uint8Array {
  return concat(mac, Uint8Array.of(2, 0, 0, 0, 0, 9), Uint8Array.from(type), packet);
}

const IPV4 = [0x08, 0x00];
const IPV6 = [0x86, 0xdd];
const VLAN = [0x81, 0x00, 0x00, 0x05];
const tcp = (destination: string): Uint8Array => {
  const source = destination.includes(":") ? "2001:db8::1" : "192.0.2.1";
  return buildTcp({ source, destination, sourcePort: 1, destinationPort: 80 });
};
const padded = (bytes: Uint8Array, length: number): Uint8Array =>
  concat(bytes, new Uint8Array(Math.max(0, length - bytes.length)));

const ROWS: readonly (readonly [string, Uint8Array, number])[] = [
  ["IPv4 to a service", frame(tcp("10.0.0.100"), IPV4), REDIRECT],
  ["IPv6 to a service", frame(tcp("fd00::100"), IPV6), REDIRECT],
  ["the same with padding", padded(frame(tcp("10.0.0.100"), IPV4), 80), REDIRECT],
  ["IPv4 to another address", frame(tcp("10.0.0.101"), IPV4), PASS],
  ["IPv6 to another address", frame(tcp("fd00::101"), IPV6), PASS],
  ["an address of the other family's bytes", frame(tcp("fd00::100"), IPV4), PASS],
  [
    "a frame for another host",
    frame(
      tcp("10.0.0.100"),
      IPV4,
      MAC.map((byte) => byte ^ 1),
    ),
    PASS,
  ],
  [
    "one whose MAC differs at its end",
    frame(tcp("10.0.0.100"), IPV4, Uint8Array.of(...MAC.slice(0, 5), 0)),
    PASS,
  ],
  ["a broadcast", frame(tcp("10.0.0.100"), IPV4, new Uint8Array(6).fill(0xff)), PASS],
  ["a VLAN's", frame(tcp("10.0.0.100"), [...VLAN, ...IPV4]), PASS],
  ["ARP", frame(padded(toAddress("10.0.0.100"), 46), [0x08, 0x06]), PASS],
  ["a header cut off", frame(tcp("10.0.0.100").slice(0, 19), IPV4), PASS],
  ["the shortest header", frame(tcp("10.0.0.100").slice(0, 20), IPV4), REDIRECT],
  ["an IPv6 header cut off", frame(tcp("fd00::100").slice(0, 39), IPV6), PASS],
  ["the shortest IPv6 header", frame(tcp("fd00::100").slice(0, 40), IPV6), REDIRECT],
];

for (const [name, bytes, want] of ROWS) {
  check(`${want === PASS ? "passes" : "redirects"} ${name}`, () => {
    const program = load(name);
    if (program === undefined) return;
    try {
      assert.is(run(program, bytes), want);
    } finally {
      libc().close(program);
    }
  });
}

steer.run();
