/** What `baton sim --trace` writes: the packets of a run, as any reader of pcapng sees them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimTrace } from "../../host/daemon/simtrace.ts";
import { PcapngReader, type Frame } from "../../host/observe/pcapng.ts";
import { ACK, buildTcp, parseTcp } from "../../host/sim/packet.ts";

const traces = suite("trace of a run");

traces("names who sent a packet, where to, and what became of it", () => {
  const frames: Frame[] = [];
  const names: string[] = [];
  const reader = new PcapngReader({
    onInterface: (index, name) => void (names[index] = name),
    onFrame: (frame) => void frames.push(frame),
  });
  const trace = new SimTrace((bytes) => reader.push(bytes));
  const ends = { source: "10.1.0.1", destination: "10.0.0.100" };
  const packet = buildTcp({ ...ends, sourcePort: 1000, destinationPort: 80, seq: 5, flags: ACK });
  const us = 1_767_225_600_000_000 + 1_000_007;
  trace.watch("client0", "lb", packet, us, "");
  trace.watch("udp:lb", "udp:b12", Uint8Array.of(1, 2, 3), us + 1, "lost");
  trace.flush();
  assert.is(reader.pending, 0);
  assert.equal(names, ["client0", "udp:lb"]);
  assert.equal(
    frames.map(({ comment }) => comment),
    ["client0 > lb", "udp:lb > udp:b12: lost"],
  );
  const [first, second] = frames as [Frame, Frame];
  assert.is(parseTcp(first.bytes).seq, 5);
  assert.equal([first.seconds, first.nanoseconds], [1_767_225_601, 7000]);
  assert.is(second.bytes.length, 20 + 8 + 3);
  assert.is(second.bytes[9], 17, "a datagram travels in UDP");
  assert.equal([...second.bytes.subarray(16, 20)], [10, 8, 1, 12], "b12");
});

traces.run();
