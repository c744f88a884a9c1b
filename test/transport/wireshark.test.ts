/** examples/wireshark/baton.lua, by tshark, over datagrams that the transport made; a named skip without tshark. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "../house/source.ts";
import { buildIp, buildTcp, concat } from "../support/packet.ts";
import { Network } from "./network.ts";

const dissector = suite("wireshark");

const SCRIPT = join(ROOT, "examples", "wireshark", "baton.lua");
const UDP = 17;
const LINKTYPE_RAW = 101;
const FLOW = 0xfedc_ba98;

/** A capture of raw IP packets in the classic format, which needs one header and no blocks. */
function capture(packets: readonly Uint8Array[]): Uint8Array {
  const header = new Uint32Array([0xa1b2c3d4, 0x0004_0002, 0, 0, 65_535, LINKTYPE_RAW]);
  const records = packets.flatMap((packet, index) => {
    const head = new Uint32Array([index, 0, packet.length, packet.length]);
    return [new Uint8Array(head.buffer), packet];
  });
  return concat(new Uint8Array(header.buffer), ...records);
}

function udp(payload: Uint8Array): Uint8Array {
  const head = new Uint8Array(8);
  const view = new DataView(head.buffer);
  view.setUint16(0, 4000);
  view.setUint16(2, 4000);
  view.setUint16(4, 8 + payload.length);
  const addresses = { source: "192.0.2.1", destination: "192.0.2.2" };
  return buildIp({ ...addresses, protocol: UDP }, concat(head, payload));
}

/** One line of tab-separated fields for each packet. */
function tshark(
  packets: readonly Uint8Array[],
  fields: readonly string[],
  ...args: string[]
): string[][] {
  const folder = mkdtempSync(join(tmpdir(), "baton-wireshark-"));
  try {
    const file = join(folder, "capture.pcap");
    writeFileSync(file, capture(packets));
    const columns = fields.flatMap((field) => ["-e", field]);
    const words = ["-X", `lua_script:${SCRIPT}`, ...args, "-r", file, "-T", "fields", ...columns];
    const result = spawnSync("tshark", words, { encoding: "utf8" });
    assert.is(result.status, 0, result.stderr);
    return result.stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (spawnSync("tshark", ["--version"]).status !== 0) {
  dissector("shows datagrams and flows", () => {
    process.stdout.write("SKIP wireshark: tshark is not installed\n");
  });
} else {
  dissector("shows the header of every datagram of a real exchange", () => {
    const network = new Network(1);
    const a = network.station("a");
    const b = network.station("b");
    a.knows(b);
    b.knows(a);
    a.send(b, new Uint8Array(3000));
    assert.ok(network.run(5_000_000, () => a.outcomes["delivered"] === 1));
    const rows = tshark(
      network.carried.map(({ bytes }) => udp(bytes)),
      ["baton.kind", "baton.sender", "baton.counter"],
    );
    const expected = network.carried.map(({ bytes }) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const isHello = bytes[1] === 0x11;
      const sender = Buffer.from(bytes.subarray(8, 16)).toString("hex");
      return [isHello ? "1" : "2", sender, isHello ? "" : String(view.getBigUint64(16))];
    });
    assert.equal(rows, expected);
    assert.ok(rows.some(([kind]) => kind === "1") && rows.some(([kind]) => kind === "2"));
  });

  dissector("leaves other datagrams alone", () => {
    const other = [
      Uint8Array.of(0xba, 0x12, 1),
      new Uint8Array(104).fill(0xba),
      new Uint8Array(60),
    ];
    const rows = tshark(other.map(udp), ["baton.kind", "udp.length"]);
    assert.equal(
      rows,
      other.map(({ length }) => ["", String(8 + length)]),
    );
  });

  dissector(
    "shows the flow identifier of packets between tunnel addresses, and of no other",
    () => {
      const ports = { sourcePort: FLOW >>> 16, destinationPort: FLOW & 0xffff };
      const packets = [
        buildTcp({ source: "198.51.100.1", destination: "198.51.100.2", ...ports }),
        buildTcp({ source: "192.0.2.1", destination: "198.51.100.2", ...ports }),
      ];
      const tunnels = ["-o", "baton_flow.tunnels:10.0.0.1,198.51.100.0/24"];
      assert.equal(tshark(packets, ["baton_flow.id", "tcp.srcport"], ...tunnels), [
        [`0x${FLOW.toString(16)}`, String(ports.sourcePort)],
        ["", String(ports.sourcePort)],
      ]);
    },
  );
}

dissector.run();
