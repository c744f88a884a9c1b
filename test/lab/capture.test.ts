/** The packet capture of the lab: its file format alone, and live against the kernel's TCP. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CapturedPacket } from "../../host/lab/capture.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { parsePacket } from "../../host/lab/packet.ts";
import {
  interfaceBlock,
  packetBlock,
  PcapngReader,
  sectionBlock,
  statisticsBlock,
  type Frame,
} from "../../host/observe/pcapng.ts";
import { startServer, supportScript, withLab } from "../support/lab.ts";

const MIB = 1 << 20;
const capture = suite("lab capture");

capture("a capture written and read in pieces of any size is the same", () => {
  const frame = fc.record({
    seconds: fc.nat(4_000_000_000),
    nanoseconds: fc.nat(999_999_999),
    interface: fc.constantFrom(0, 1),
    direction: fc.constantFrom("in", "out", "unknown"),
    length: fc.nat(70_000),
    comment: fc.string({ minLength: 1, maxLength: 20 }),
    bytes: fc.uint8Array({ maxLength: 100 }),
  }) as fc.Arbitrary<Frame>;
  const run = (frames: Frame[], piece: number): void => {
    const blocks = [
      sectionBlock(),
      interfaceBlock("eth0", 100),
      interfaceBlock("b1", 100),
      ...frames.map(packetBlock),
      statisticsBlock(frames.length, 7),
    ];
    const bytes = Buffer.concat(blocks);
    const seen: unknown[] = [];
    const reader = new PcapngReader({
      onInterface: (index, name) => seen.push([index, name]),
      onFrame: (read) => seen.push({ ...read, bytes: [...read.bytes] }),
      onStatistics: (received, dropped) => seen.push([received, dropped]),
    });
    for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
    const expected = frames.map((each) => ({ ...each, bytes: [...each.bytes] }));
    assert.equal(seen, [[0, "eth0"], [1, "b1"], ...expected, [frames.length, 7]]);
    assert.is(reader.pending, 0);
  };
  fc.assert(fc.property(fc.array(frame, { maxLength: 5 }), fc.integer({ min: 1, max: 300 }), run));
});

capture("bytes that are no capture and no packet are refused, not believed", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      parsePacket(bytes);
      try {
        new PcapngReader({}).push(bytes);
      } catch (error) {
        assert.match((error as Error).message, /^pcapng: expected/);
      }
    }),
  );
});

/** Downloads from b1 by both families and returns what the client's device saw. */
async function watchDownloads(lab: OwnLab, bytes: number): Promise<CapturedPacket[]> {
  const packets: CapturedPacket[] = [];
  await startServer(lab.node("b1"), 8080);
  const sniffer = await lab.capture("client", (packet) => packets.push(packet));
  const { address4, address6 } = lab.node("b1").address;
  for (const host of [address4, `[${address6}]`]) {
    const url = `http://${host}:8080/${bytes}`;
    const client = await lab.nodes.client.run(process.execPath, [supportScript("labclient"), url]);
    assert.is(client.status, 0, client.stderr);
  }
  const { dropped } = await sniffer.stop();
  assert.is(dropped, 0);
  return packets.filter((packet) => packet.tcp !== undefined);
}

function payloadFrom(packets: CapturedPacket[], source: string): number {
  const from = packets.filter((packet) => packet.source === source);
  // Retransmitted bytes count once.
  const spans = new Map(from.map(({ tcp }) => [tcp!.seq, tcp!.payloadLen]));
  return [...spans.values()].reduce((sum, length) => sum + length, 0);
}

capture("offloads off: every packet fits the link and carries a full, valid checksum", async () => {
  await withLab("offloads off", { backends: 1 }, async (lab) => {
    await lab.offload(false);
    const packets = await watchDownloads(lab, 2 * MIB);
    const { address4, address6 } = lab.node("b1").address;
    for (const source of [address4, address6]) {
      assert.ok(payloadFrom(packets, source) >= 2 * MIB, `${source} sent it all`);
      const syn = packets.find(
        ({ source: from, tcp }) => from === source && tcp?.flags === "SYN,ACK",
      );
      assert.is(syn?.tcp?.options.mss, source === address4 ? 1460 : 1440);
      assert.is(syn?.direction, "in");
      assert.is(syn?.device, "eth0");
      assert.ok(Math.abs((syn?.time ?? 0) - Date.now()) < 60_000);
    }
    for (const packet of packets) {
      assert.ok(packet.length <= 1500 && packet.bytes.length === packet.length);
      assert.equal([packet.headerChecksum, packet.tcp?.checksum], ["valid", "valid"]);
    }
  });
});

capture(
  "offloads on: large segments with a pseudo-header's sum are told from bad ones",
  async () => {
    await withLab("offloads on", { backends: 1 }, async (lab) => {
      const packets = await watchDownloads(lab, 2 * MIB);
      assert.ok(packets.some(({ length }) => length > 1500));
      const states = new Set(packets.map(({ tcp }) => tcp?.checksum));
      assert.ok(states.has("partial"));
      assert.not(states.has("invalid"));
    });
  },
);

capture("a cut capture keeps lengths, a flipped byte is an invalid checksum", async () => {
  await withLab("snap length", { backends: 1 }, async (lab) => {
    await lab.offload(false);
    const packets: CapturedPacket[] = [];
    const sniffer = await lab.capture("client", (packet) => packets.push(packet), { snapLen: 80 });
    await startServer(lab.node("b1"), 8080);
    const url = `http://${lab.node("b1").address.address4}:8080/100000`;
    await lab.nodes.client.run(process.execPath, [supportScript("labclient"), url]);
    await sniffer.stop();
    const large = packets.find(({ length }) => length === 1500);
    assert.is(large?.bytes.length, 80);
    assert.is(large?.tcp?.checksum, "unknown");
    const small = packets.find(({ tcp }) => tcp?.flags === "SYN");
    assert.ok(small);
    const flipped = Uint8Array.from(small.bytes);
    flipped[flipped.length - 1]! ^= 1;
    assert.is(parsePacket(flipped)?.tcp?.checksum, "invalid");
  });
});

capture(
  "a capture to a file opens in this reader and in tcpdump; bad devices are an error",
  async () => {
    await withLab("file", { backends: 1 }, async (lab) => {
      const folder = mkdtempSync(join(tmpdir(), `baton-${process.pid}-`));
      const file = join(folder, "client.pcapng");
      try {
        const sniffer = await lab.capture("router", file);
        await startServer(lab.node("b1"), 8080);
        const url = `http://${lab.node("b1").address.address4}:8080/peer`;
        await lab.nodes.client.run(process.execPath, [supportScript("labclient"), url]);
        const summary = await sniffer.stop();
        let frames = 0;
        const devices: string[] = [];
        const reader = new PcapngReader({
          onInterface: (_, name) => devices.push(name),
          onFrame: () => (frames += 1),
        });
        reader.push(readFileSync(file));
        assert.is(reader.pending, 0);
        assert.is(frames, summary.packets);
        assert.ok(["client", "b1"].every((name) => devices.includes(name)));
        const error = await lab.capture("client", file, { device: "none0" }).catch(String);
        assert.match(String(error), /capture on client: expected it to run, got .*none0.*ENODEV/);
        const tcpdump = spawnSync("tcpdump", ["-nr", "-"], {
          // By standard input: tcpdump gives up root before it opens a file.
          input: readFileSync(file),
          encoding: "utf8",
        });
        if (tcpdump.error)
          return void process.stdout.write("SKIP tcpdump reads it: not installed\n");
        assert.is(tcpdump.stdout.trim().split("\n").length, frames, tcpdump.stderr);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  },
);

capture.run();
