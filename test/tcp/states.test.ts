/** Every way to open and close, windows, and what must not disturb a connection. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { counter, feed } from "../support/batch.ts";
import { ACK, FIN, RST, SYN, buildTcp, option } from "../support/packet.ts";
import { ADDRESS, PORT_A, PORT_B, Pair, pattern, transfer } from "./pair.ts";

const states = suite("states");

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  /** A segment to b that pretends to come from a. */
  const forged = (pair: Pair, fields: object): Uint8Array =>
    buildTcp({
      source: ADDRESS[pair.b.family].a,
      destination: ADDRESS[pair.b.family].b,
      sourcePort: PORT_A,
      destinationPort: PORT_B,
      ...fields,
    });
  const lastOf = (pair: Pair, from: "a" | "b") =>
    pair.trace.filter((entry) => entry.from === from).at(-1)!.packet;

  states(title("opens simultaneously"), () => {
    const pair = new Pair({ build, b: { listen: false } });
    const a = pair.a.connect(pair.now);
    const b = pair.b.connect(pair.now);
    pair.runUntil(() => pair.a.state(a) === "ESTABLISHED" && pair.b.state(b) === "ESTABLISHED", 5);
    const data = pattern(10_000);
    assert.equal(transfer(pair, "a", { a, b }, data), data);
    assert.equal(transfer(pair, "b", { a, b }, data), data);
  });

  states(title("closes simultaneously: both sides see TIME-WAIT"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.run(100_000);
    pair.a.shutdown(handles.a, pair.now);
    pair.b.shutdown(handles.b, pair.now);
    pair.run(100_000);
    assert.is(pair.a.state(handles.a), "TIME_WAIT");
    assert.is(pair.b.state(handles.b), "TIME_WAIT");
    assert.is(pair.a.handles("CLOSED").length + pair.b.handles("CLOSED").length, 2);
  });

  states(title("keeps sending after the peer has closed its half"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.b.shutdown(handles.b, pair.now);
    pair.runUntil(() => pair.a.handles("ENDED").length === 1);
    const data = pattern(100_000);
    assert.equal(transfer(pair, "a", handles, data), data);
    pair.a.shutdown(handles.a, pair.now);
    pair.runUntil(() => pair.a.handles("CLOSED").length === 1, 5);
    assert.is(pair.b.state(handles.b), "TIME_WAIT");
  });

  states(title("aborts with a RST that the peer believes"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.a.abort(handles.a, pair.now);
    pair.runUntil(() => pair.b.handles("CLOSED").length === 1, 5);
    const closed = pair.b.events.find(({ type }) => type === "CLOSED")!;
    assert.is(closed.code, pair.b.core.constant("Err.RESET"));
    pair.b.release(handles.b);
    pair.b.pollEvents();
    assert.is(pair.b.core.f.tcbCount!(), 0);
    pair.a.pollEvents();
    assert.is(pair.a.core.f.tcbCount!(), 0);
  });

  states(title("resets when the application leaves bytes unread"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    pair.a.write(handles.a, pattern(100), pair.now);
    pair.run(50_000);
    assert.is(pair.b.release(handles.b), 0);
    pair.runUntil(() => pair.a.handles("CLOSED").length === 1, 5);
    assert.is(lastOf(pair, "b").flags & RST, RST);
  });

  states(title("refuses a connection to a port where nobody listens"), () => {
    const pair = new Pair({ build, b: { listen: false } });
    const a = pair.a.connect(pair.now);
    pair.runUntil(() => pair.a.handles("CLOSED").length === 1, 5);
    assert.is(pair.a.events[0]?.code, pair.a.core.constant("Err.REFUSED"));
    assert.ok(a > 0);
  });

  states(title("probes a window that is shut, and goes on when it opens"), () => {
    const pair = new Pair({ build, b: { rcvBufferMax: 16_384 } });
    const handles = pair.open();
    const data = pattern(60_000);
    let wrote = pair.a.write(handles.a, data, pair.now);
    pair.run(5_000_000);
    assert.is(pair.b.info(handles.b, "RCV_WND"), 0);
    assert.is(pair.a.info(handles.a, "SND_WND"), 0);
    const probes = pair.trace.filter(({ at, from }) => from === "a" && at > 300_000).length;
    assert.ok(probes >= 2, `${probes} probes`);
    pair.run(600_000_000);
    assert.is(pair.a.state(handles.a), "ESTABLISHED", "a shut window is no reason to give up");
    let deaf = true;
    pair.wire.pass = (_packet, from) => !(deaf && from === "b");
    const got = [pair.b.read(handles.b, pair.now)];
    pair.flush(); // the window update is lost
    deaf = false;
    pair.onStep = () => {
      if (wrote < data.length) wrote += pair.a.write(handles.a, data.subarray(wrote), pair.now);
      got.push(pair.b.read(handles.b, pair.now));
    };
    const length = () => got.reduce((n, part) => n + part.length, 0);
    pair.runUntil(() => length() === data.length, 300);
    assert.equal(new Uint8Array(Buffer.concat(got)), data);
  });

  states(title("never moves the advertised right edge to the left"), () => {
    const pair = new Pair({ build, wire: { loss: 0.05, seed: 3 }, b: { rcvBufferMax: 40_000 } });
    const handles = pair.open();
    const data = pattern(300_000);
    transfer(pair, "a", handles, data);
    let edge: number | undefined;
    for (const { from, packet } of pair.trace.slice(3)) {
      if (from !== "b") continue;
      const now = (packet.ack + (packet.window << pair.b.info(handles.b, "RCV_WND_SHIFT"))) >>> 0;
      if (edge !== undefined) assert.ok(((now - edge) | 0) >= 0, "the window shrank");
      edge = now;
    }
  });

  states(title("answers a SYN within the window by a challenge ACK, and lives"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    const before = pair.trace.length;
    pair.inject("b", forged(pair, { flags: SYN, seq: pair.b.info(handles.b, "RCV_NXT") + 10 }));
    pair.run(10_000);
    const [answer, ...rest] = pair.trace.slice(before).filter(({ from }) => from === "b");
    assert.is(answer?.packet.flags, ACK);
    assert.is(rest.length, 0);
    assert.is(counter(pair.b.core, "TCP_CHALLENGES"), 1);
    assert.is(pair.b.state(handles.b), "ESTABLISHED");
  });

  states(title("believes a RST at RCV.NXT only; challenges one beside it; ignores others"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    const next = pair.b.info(handles.b, "RCV_NXT");
    pair.inject("b", forged(pair, { flags: RST, seq: next + 1 }));
    pair.run(10_000);
    assert.is(counter(pair.b.core, "TCP_CHALLENGES"), 1);
    pair.inject("b", forged(pair, { flags: RST, seq: (next + 10_000_000) >>> 0 }));
    pair.inject("b", forged(pair, { flags: RST, seq: (next - 1) >>> 0 }));
    pair.run(10_000);
    assert.is(pair.b.state(handles.b), "ESTABLISHED");
    pair.inject("b", forged(pair, { flags: RST, seq: next }));
    pair.run(10_000);
    assert.is(pair.b.state(handles.b), "CLOSED");
  });

  states(title("limits its challenge ACKs"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    const seq = pair.b.info(handles.b, "RCV_NXT") + 1;
    for (let i = 0; i < 100; i++) pair.inject("b", forged(pair, { flags: RST, seq }));
    pair.run(100_000);
    assert.is(counter(pair.b.core, "TCP_CHALLENGES"), 1);
    assert.is(counter(pair.b.core, "TCP_CHALLENGES_WITHHELD"), 99);
  });

  states(title("drops a segment whose timestamp is old (PAWS), and says where it is"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    const payload = pattern(10);
    const old = pair.b.info(handles.b, "TS_RECENT") - 1;
    const before = pair.trace.length;
    pair.inject(
      "b",
      forged(pair, {
        flags: ACK,
        seq: pair.b.info(handles.b, "RCV_NXT"),
        ack: pair.b.info(handles.b, "SND_NXT"),
        options: option.timestamps(old >>> 0, 0),
        payload,
      }),
    );
    pair.run(10_000);
    assert.is(counter(pair.b.core, "TCP_PAWS"), 1);
    assert.is(pair.b.info(handles.b, "UNREAD_BYTES"), 0);
    assert.is(pair.trace.slice(before).filter(({ from }) => from === "b").length, 1);
  });

  states(title("accepts a new SYN in TIME-WAIT at once, with greater numbers"), () => {
    const pair = new Pair({ build });
    const first = pair.open();
    pair.b.shutdown(first.b, pair.now);
    pair.run(50_000);
    pair.a.shutdown(first.a, pair.now);
    pair.run(50_000);
    assert.is(pair.b.state(first.b), "TIME_WAIT");
    const oldNext = lastOf(pair, "b").ack && pair.b.info(first.b, "SND_NXT");
    pair.a.release(first.a);
    pair.a.pollEvents();
    const before = pair.trace.length;
    const second = pair.open();
    const synAck = pair.trace.slice(before).find(({ packet }) => packet.flags === (SYN | ACK))!;
    assert.ok(((synAck.packet.seq - oldNext) | 0) > 0, "ISS above the old SND.NXT");
    assert.is(pair.b.state(second.b), "ESTABLISHED");
    assert.equal(pair.b.handles("RELEASED"), [first.b], "who mapped the old one hears of its end");
  });

  states(title("hands a SYN in TIME-WAIT back to whoever gave the flow"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    assert.is(pair.b.core.f.connectionOwner!(handles.b, 7, 0x10002), 0);
    pair.b.shutdown(handles.b, pair.now);
    pair.run(50_000);
    pair.a.shutdown(handles.a, pair.now);
    pair.run(50_000);
    const syn = forged(pair, {
      flags: SYN,
      seq: (pair.b.info(handles.b, "RCV_NXT") + 1000) >>> 0,
      options: option.timestamps((pair.b.info(handles.b, "TS_RECENT") + 10) >>> 0, 0),
    });
    const [out] = feed(pair.b.core, [syn], pair.now + pair.b.startUs);
    assert.is(out!.verdict, pair.b.core.constant("Verdict.HANDBACK"));
    assert.is(out!.peer, 7);
    assert.is(out!.flow, 0x10002);
    const [event] = pair.b.pollEvents();
    assert.is(event?.type, "RELEASED");
    assert.is(event?.ownerFlow, 0x10002);
    assert.is(event?.sndNxt, pair.b.info(handles.b, "SND_NXT"));
    assert.ok(((event!.tsVal - pair.b.info(handles.b, "TS_LAST_SENT")) | 0) >= 0);
  });

  states(title("accepts a SYN with a hint above the old numbers"), () => {
    const pair = new Pair({ build });
    const isn = 0xfffffff0;
    const syn = forged(pair, { flags: SYN, seq: 5, options: option.timestamps(100, 0) });
    const hint = { bytes: syn, flags: pair.b.core.constant("PacketFlag.SYN_HINT") };
    feed(pair.b.core, [{ ...hint, flow: isn, record: 0x7fffffff }], pair.b.startUs);
    pair.flush();
    const { packet } = pair.trace.at(-1)!;
    assert.is(packet.flags, SYN | ACK);
    assert.ok(((packet.seq - isn) | 0) > 0);
    const stamp = packet.options.find(({ kind }) => kind === 8)!.bytes;
    const tsVal = new DataView(stamp.buffer, stamp.byteOffset).getUint32(0);
    assert.ok(((tsVal - 0x7fffffff) | 0) >= 0);
  });

  states(title("acknowledges a FIN again in TIME-WAIT"), () => {
    const pair = new Pair({ build });
    const handles = pair.open();
    let lose = false;
    pair.wire.pass = (packet, from) => !(lose && from === "a" && packet.flags === ACK);
    pair.a.shutdown(handles.a, pair.now);
    pair.run(50_000);
    lose = true;
    pair.b.shutdown(handles.b, pair.now);
    pair.run(100_000);
    assert.is(pair.b.state(handles.b), "LAST_ACK");
    lose = false;
    pair.runUntil(() => pair.b.handles("CLOSED").length === 1, 10);
    assert.ok(
      pair.trace.filter(({ from, packet }) => from === "b" && packet.flags & FIN).length > 1,
    );
  });

  states(title("answers a flood of SYNs with cookies that keep scale, SACK and timestamps"), () => {
    const pair = new Pair({ build, b: { halfOpenMax: 4 } });
    for (let port = 1000; port < 1100; port++) {
      pair.inject("b", forged(pair, { flags: SYN, seq: port, sourcePort: port }));
    }
    pair.run(2_000);
    assert.is(counter(pair.b.core, "TCP_COOKIES_SENT"), 96);
    assert.is(pair.b.core.f.tcbCount!(), 4);
    const handles = pair.open();
    assert.is(counter(pair.b.core, "TCP_COOKIES_ACCEPTED"), 1);
    const flags = pair.b.info(handles.b, "FLAGS");
    for (const name of ["TIMESTAMPS", "SACK", "WINDOW_SCALE"]) {
      assert.ok(flags & pair.b.core.constant(`Flag.${name}`), name);
    }
    const shift = pair.a.info(handles.a, "RCV_WND_SHIFT");
    assert.is(pair.b.info(handles.b, "SND_WND_SHIFT"), shift);
    const data = pattern(100_000);
    assert.equal(transfer(pair, "a", handles, data), data);
    assert.equal(transfer(pair, "b", handles, data), data);
  });

  states(title("probes an idle connection when asked to, and ends it when nobody answers"), () => {
    let deaf = false;
    const pair = new Pair({ build, wire: { pass: () => !deaf } });
    const handles = pair.open();
    pair.a.option(handles.a, "KEEPALIVE_US", 10_000_000);
    pair.a.option(handles.a, "KEEPALIVE_INTERVAL_US", 1_000_000);
    pair.a.option(handles.a, "KEEPALIVE_PROBES", 3);
    pair.run(100_000_000);
    assert.is(pair.a.state(handles.a), "ESTABLISHED");
    deaf = true;
    pair.runUntil(() => pair.a.handles("CLOSED").length === 1, 30);
    assert.is(pair.a.events.at(-2)?.code, pair.a.core.constant("Err.TIMEOUT"));
  });

  states(title("holds small segments back by Nagle, and does not with NODELAY"), () => {
    const count = (nodelay: number): number => {
      const pair = new Pair({ build, wire: { delayUs: 20_000 } });
      const handles = pair.open();
      pair.a.option(handles.a, "NODELAY", nodelay);
      for (let i = 0; i < 10; i++) {
        pair.a.write(handles.a, pattern(10), pair.now);
        pair.flush();
      }
      pair.run(500_000);
      assert.is(pair.b.info(handles.b, "UNREAD_BYTES"), 100);
      return pair.trace.filter(({ from, packet }) => from === "a" && packet.payload.length).length;
    };
    assert.is(count(1), 10);
    assert.is(count(0), 2);
  });

  states(title("wraps sequence numbers and timestamps in mid-stream"), () => {
    const probe = new Pair({ build });
    probe.open();
    const { seq, options } = probe.trace[0]!.packet;
    const stamp = options.find(({ kind }) => kind === 8)!.bytes;
    const tsVal = new DataView(stamp.buffer, stamp.byteOffset).getUint32(0);
    const base = 1_700_000_000_000;
    // One clock moves the ISN by a step each 64 ns, the other TSval by one each ms.
    const wrapSeq = base + ((2 ** 32 - seq - 30_000) * 64) / 1_000_000;
    const wrapStamp = base + (2 ** 32 - tsVal - 20);
    for (const wallMs of [wrapSeq, wrapStamp]) {
      const pair = new Pair({ build, a: { wallMs }, wire: { loss: 0.02, seed: 9 } });
      const handles = pair.open();
      const first = pair.trace[0]!.packet;
      const data = pattern(400_000);
      assert.equal(transfer(pair, "a", handles, data), data);
      const last = lastOf(pair, "a");
      if (wallMs === wrapSeq) assert.ok(first.seq > last.seq, "the sequence number wrapped");
    }
  });
}

states.run();
