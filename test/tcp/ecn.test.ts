/** Explicit congestion notification: the handshake, marks, echoes, reductions, what is never marked. RFC 3168. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { moveB } from "../blob/mover.ts";
import { counter, drain } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, CWR, ECE, FIN, PSH, SYN, option } from "../support/packet.ts";
import type { TcpPacket } from "../support/packet.ts";
import { Pair, pattern, transfer } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const ecn = suite("ecn");
const SECOND = 1_000_000;
const SYN_OPTIONS = Buffer.concat([
  option.mss(1460),
  option.sackPermitted(),
  option.timestamps(100, 0),
  option.windowScale(7),
]);
const CODEPOINT = (packet: TcpPacket) => packet.trafficClass & 3;
const NOT_ECT = 0;
const ECT0 = 2;
const CE = 3;

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    const title = (text: string) => `${text} (${build}, IPv${family})`;

    /** A connection that the peer opened with ECN, whose window is wide. */
    const opened = (options = {}): Peer => {
      const peer = new Peer(build, { family, ecn: true, ...options });
      const [synAck] = peer.send({ flags: SYN | ECE | CWR, ack: 0, options: SYN_OPTIONS });
      assert.is(synAck!.flags, SYN | ACK | ECE);
      peer.seq += 1;
      peer.ack = (synAck!.seq + 1) >>> 0;
      peer.options = () => option.timestamps(101 + peer.now / 1000, 0);
      peer.send({});
      peer.handle = peer.end.handles("ACCEPTED")[0]!;
      return peer;
    };
    const marked = (peer: Peer): TcpPacket[] => {
      const answers = peer.send({ trafficClass: CE, payload: pattern(100) });
      peer.seq += 100;
      return answers;
    };

    ecn(title("agrees to ECN where its service says so and the client asks, else not"), () => {
      for (const [isOn, flags, trafficClass, answer] of [
        [true, SYN | ECE | CWR, 0, SYN | ACK | ECE],
        [false, SYN | ECE | CWR, 0, SYN | ACK],
        [true, SYN, 0, SYN | ACK],
        [true, SYN | ECE, 0, SYN | ACK],
        [true, SYN | CWR, 0, SYN | ACK],
        // A network that marks SYNs marks everything: such marks mean nothing.
        [true, SYN | ECE | CWR, CE, SYN | ACK],
        [true, SYN | ECE | CWR, ECT0, SYN | ACK],
      ] as const) {
        const peer = new Peer(build, { family, ecn: isOn });
        const [synAck] = peer.send({ flags, trafficClass, ack: 0, options: SYN_OPTIONS });
        assert.is(synAck!.flags, answer);
        assert.is(CODEPOINT(synAck!), NOT_ECT, "a SYN-ACK is not ECN-capable");
        peer.seq += 1;
        peer.ack = (synAck!.seq + 1) >>> 0;
        peer.send({});
        peer.handle = peer.end.handles("ACCEPTED")[0]!;
        const expected = (answer & ECE) !== 0 ? ECT0 : NOT_ECT;
        for (const packet of peer.write(pattern(4000))) assert.is(CODEPOINT(packet), expected);
      }
    });

    ecn(
      title("asks for ECN only where the application wants it, and takes no for an answer"),
      () => {
        for (const [wants, answer, agreed] of [
          [true, ECE, true],
          [true, 0, false],
          [true, ECE | CWR, false],
          [false, ECE, false],
        ] as const) {
          const peer = new Peer(build, { family, listen: false });
          peer.handle = peer.end.connect(peer.now);
          assert.is(peer.end.option(peer.handle, "ECN", wants ? 1 : 0), 0);
          const [syn] = peer.poll();
          assert.is(syn!.flags, wants ? SYN | ECE | CWR : SYN);
          assert.is(CODEPOINT(syn!), NOT_ECT);
          const late = peer.end.core.constant("Err.TCP_STATE");
          assert.is(peer.end.option(peer.handle, "ECN", 1), late, "the SYN has left");
          peer.ack = (syn!.seq + 1) >>> 0;
          const answers = peer.send({ flags: SYN | ACK | answer, options: SYN_OPTIONS });
          peer.seq += 1;
          for (const packet of [...answers, ...peer.write(pattern(4000))]) {
            assert.is(packet.flags & (ECE | CWR), 0);
            const fresh = packet.payload.length > 0;
            assert.is(CODEPOINT(packet), agreed && fresh ? ECT0 : NOT_ECT);
          }
        }
      },
    );

    ecn(
      title("tries without ECN when its SYN is lost, and when the client's next SYN is without"),
      () => {
        const active = new Peer(build, { family, listen: false });
        active.handle = active.end.connect(0);
        active.end.option(active.handle, "ECN", 1);
        assert.is(active.poll()[0]!.flags, SYN | ECE | CWR);
        const [again] = active.run(2 * SECOND);
        assert.is(again!.flags, SYN);
        active.ack = (again!.seq + 1) >>> 0;
        active.send({ flags: SYN | ACK | ECE, options: SYN_OPTIONS });
        for (const packet of active.write(pattern(3000))) assert.is(CODEPOINT(packet), NOT_ECT);

        const passive = new Peer(build, { family, ecn: true });
        const syn = { ack: 0, options: SYN_OPTIONS };
        assert.is(passive.send({ ...syn, flags: SYN | ECE | CWR })[0]!.flags, SYN | ACK | ECE);
        const [plain] = passive.send({ ...syn, flags: SYN });
        assert.is(plain!.flags, SYN | ACK);
        passive.seq += 1;
        passive.ack = (plain!.seq + 1) >>> 0;
        passive.send({});
        passive.handle = passive.end.handles("ACCEPTED")[0]!;
        for (const packet of passive.write(pattern(3000))) assert.is(CODEPOINT(packet), NOT_ECT);
      },
    );

    ecn(title("agrees in a simultaneous open when both SYNs ask"), () => {
      for (const [theirs, agreed] of [
        [ECE | CWR, true],
        [0, false],
        [ECE, false],
      ] as const) {
        const peer = new Peer(build, { family, listen: false });
        peer.handle = peer.end.connect(0);
        peer.end.option(peer.handle, "ECN", 1);
        const [syn] = peer.poll();
        const [synAck] = peer.send({ flags: SYN | theirs, ack: 0, options: SYN_OPTIONS });
        assert.is(synAck!.flags, SYN | ACK | (agreed ? ECE : 0));
        peer.ack = (syn!.seq + 1) >>> 0;
        peer.send({ flags: SYN | ACK | (agreed ? ECE : 0), options: SYN_OPTIONS });
        peer.seq += 1;
        assert.is(peer.state(), "ESTABLISHED");
        const cwnd = peer.info("CWND");
        for (const packet of peer.write(pattern(3000))) {
          assert.is(CODEPOINT(packet), agreed ? ECT0 : NOT_ECT);
        }
        assert.is(peer.info("CWND"), cwnd, "ECE of the handshake is no echo");
      }
    });

    ecn(title("keeps ECN through a SYN cookie"), () => {
      for (const [isOn, asks, agreed] of [
        [true, true, true],
        [true, false, false],
        [false, true, false],
      ] as const) {
        const peer = new Peer(build, { family, ecn: isOn, halfOpenMax: 0 });
        const flags = SYN | (asks ? ECE | CWR : 0);
        const [synAck] = peer.send({ flags, ack: 0, options: SYN_OPTIONS });
        assert.is(synAck!.flags, SYN | ACK | (agreed ? ECE : 0));
        assert.is(counter(peer.end.core, "TCP_COOKIES_SENT"), 1);
        const stamp = synAck!.options.find(({ kind }) => kind === 8)!.bytes;
        const echo = new DataView(stamp.buffer, stamp.byteOffset).getUint32(0);
        peer.seq += 1;
        peer.ack = (synAck!.seq + 1) >>> 0;
        peer.options = () => option.timestamps(101, echo);
        peer.send({});
        peer.handle = peer.end.handles("ACCEPTED")[0]!;
        assert.is(peer.info("SND_WND_SHIFT"), 7, "the scale survives beside it");
        for (const packet of peer.write(pattern(3000))) {
          assert.is(CODEPOINT(packet), agreed ? ECT0 : NOT_ECT);
        }
      }
    });

    ecn(title("echoes a mark on every segment until the peer says CWR"), () => {
      const peer = opened();
      const [first] = marked(peer);
      assert.ok(first, "a mark is answered at once");
      assert.is(first.flags & ECE, ECE);
      const data = peer.write(pattern(2000));
      assert.is(sizes(data).length, 2);
      for (const packet of data) assert.is(packet.flags & ECE, ECE, "data echoes too");
      peer.ack = (peer.ack + 2000) >>> 0;
      peer.send({ payload: pattern(1) });
      peer.seq += 1;
      for (const packet of peer.run(SECOND)) assert.is(packet.flags & ECE, ECE);
      const [quiet] = peer.send({ flags: ACK | CWR, payload: pattern(10) });
      peer.seq += 10;
      assert.ok(quiet, "CWR is answered at once");
      assert.is(quiet.flags & ECE, 0);
      for (const packet of peer.write(pattern(2000))) assert.is(packet.flags & ECE, 0);
      assert.is(counter(peer.end.core, "TCP_ECN_MARKED"), 1);
      const [again] = peer.send({ flags: ACK | CWR, trafficClass: CE, payload: pattern(10) });
      assert.is(again!.flags & ECE, ECE, "a segment may end one echo and begin the next");
    });

    ecn(
      title("takes no mark from a connection that did not agree, nor from what carries no data"),
      () => {
        const plain = new Peer(build, { family });
        plain.open();
        assert.is(plain.send({ trafficClass: CE, payload: pattern(9) })[0]!.flags & ECE, 0);
        const peer = opened();
        peer.send({ trafficClass: CE });
        for (const packet of peer.write(pattern(100))) assert.is(packet.flags & ECE, 0);
        assert.is(counter(peer.end.core, "TCP_ECN_MARKED"), 0);
      },
    );

    ecn(title("takes the mark of a merged super-segment, and sends CWR once with one"), () => {
      const peer = opened({ segmenting: 1 });
      peer.write(pattern(4000));
      peer.ack = (peer.ack + 4000) >>> 0;
      const bytes = peer.build({
        flags: ACK | ECE,
        trafficClass: CE,
        payload: pattern(5000),
        partialChecksum: true,
      });
      const ipLen = family === 4 ? 20 : 40;
      const offload = { flags: 1, csumStart: ipLen, csumOffset: 16, headerLen: ipLen + 32 };
      const gsoType = (family === 4 ? 1 : 4) | 0x80;
      const answers = peer.raw({ bytes, ...offload, gsoType, gsoSize: 1000 });
      assert.is(answers[0]!.flags & ECE, ECE);
      peer.end.write(peer.handle, pattern(20_000), peer.now);
      const batch = drain(peer.end.core, "pollTransmit", peer.clock);
      const wide = batch.filter(({ gsoSize }) => gsoSize > 0);
      assert.ok(wide.length > 0, "a super-segment leaves");
      const said = batch.filter(({ bytes: packet }) => (packet[ipLen + 13]! & CWR) !== 0);
      assert.is(said.length, 1);
      assert.is(said[0], wide[0]);
      assert.is(said[0]!.gsoType, gsoType, "whoever cuts it must not repeat CWR");
    });

    ecn(title("marks nothing but new data as capable: no ACK, probe, FIN, retransmission"), () => {
      const peer = opened();
      peer.end.option(peer.handle, "KEEPALIVE_US", 20 * SECOND);
      const first = peer.write(pattern(3000));
      assert.equal(
        first.map(CODEPOINT),
        first.map(() => ECT0),
      );
      const resent = peer.run(3 * SECOND);
      assert.ok(sizes(resent).length > 1, "a loss probe and a timeout");
      assert.equal(
        resent.map(CODEPOINT),
        resent.map(() => NOT_ECT),
      );
      peer.ack = peer.info("SND_NXT");
      peer.window = 0;
      const others = peer.send({ payload: pattern(10) });
      peer.seq += 10;
      assert.is(others.length, 1);
      peer.end.write(peer.handle, pattern(100), peer.now);
      others.push(...peer.run(60 * SECOND));
      assert.ok(others.length > 3, "probes of the shut window");
      peer.window = 1000;
      others.push(...peer.send({}));
      peer.ack = peer.info("SND_NXT");
      peer.send({});
      others.push(...peer.run(30 * SECOND));
      peer.end.shutdown(peer.handle, peer.now);
      const fin = peer.poll();
      assert.is(fin[0]!.flags & FIN, FIN);
      others.push(...fin);
      assert.ok(others.length > 4, `${others.length} packets`);
      for (const packet of others) {
        const isNew = packet.payload.length > 0;
        assert.is(CODEPOINT(packet), isNew ? ECT0 : NOT_ECT);
      }
      assert.ok(others.filter(({ payload }) => payload.length === 0).length > 3);
    });

    ecn(title("halves once a window for an echo, says CWR once, and sends nothing again"), () => {
      for (const [congestion, share] of [
        [0, 0.7],
        [1, 0.5],
      ] as const) {
        const peer = opened();
        peer.end.option(peer.handle, "CONGESTION", congestion);
        const cwnd = peer.info("CWND");
        const flight = peer.write(pattern(30_000));
        assert.ok(sizes(flight).length >= 10);
        let said = 0;
        const look = (packets: TcpPacket[]): void => {
          for (const packet of packets) if ((packet.flags & CWR) !== 0) said++;
        };
        // Every ACK of this window echoes, as a peer does until it hears of the reduction.
        for (const packet of flight) {
          peer.now += 1000;
          peer.ack = (packet.seq + packet.payload.length) >>> 0;
          look(peer.send({ flags: ACK | ECE }));
        }
        assert.is(said, 1);
        assert.is(counter(peer.end.core, "TCP_ECN_REDUCED"), 1);
        assert.is(peer.info("SSTHRESH"), Math.floor(cwnd * share));
        assert.ok(Math.abs(peer.info("CWND") - cwnd * share) < 3 * 1448, `${peer.info("CWND")}`);
        assert.is(peer.info("BYTES_RETRANSMITTED"), 0);
        assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 0);
        // An echo of a mark in the next window asks again.
        look(peer.write(pattern(20_000)));
        peer.now += 1000;
        peer.ack = peer.info("SND_NXT");
        peer.send({ flags: ACK | ECE });
        assert.is(counter(peer.end.core, "TCP_ECN_REDUCED"), 2);
      }
    });

    ecn(title("reduces once for a mark and a loss in the same window, whichever is first"), () => {
      for (const [lost, markedOne] of [
        [5, 25],
        [25, 5],
      ] as const) {
        const pair = new Pair({ build, family, b: { ecn: true }, wire: { delayUs: 10_000 } });
        const handles = pair.open(true);
        transfer(pair, "a", handles, pattern(100_000));
        pair.run(100_000);
        const cwnd = pair.a.info(handles.a, "CWND");
        let data = 0;
        const isData = (packet: TcpPacket) => packet.payload.length > 0;
        pair.wire.pass = (packet, from) => {
          pair.wire.delayUs = 10_000 + 100 * data; // each ACK is for one segment
          return from !== "a" || !isData(packet) || ++data !== lost;
        };
        pair.wire.mark = (packet, from) => from === "a" && isData(packet) && data === markedOne;
        pair.a.write(handles.a, pattern(44_000), pair.now);
        pair.flush();
        assert.ok(data >= 30, `${data} segments are one window`);
        pair.run(400_000);
        assert.is(counter(pair.b.core, "TCP_ECN_MARKED"), 1);
        assert.is(counter(pair.a.core, "TCP_RECOVERIES"), 1);
        assert.is(counter(pair.a.core, "TCP_ECN_REDUCED"), markedOne < lost ? 1 : 0);
        assert.is(pair.a.info(handles.a, "SSTHRESH"), Math.floor(cwnd * 0.7));
        assert.is(pair.a.info(handles.a, "TIMEOUTS"), 0);
        assert.is(pair.a.info(handles.a, "SND_UNA"), pair.a.info(handles.a, "SND_NXT"));
      }
    });

    ecn(title("says CWR with the first new data after a timeout too"), () => {
      const peer = opened();
      peer.write(pattern(1000));
      const again = peer.run(3 * SECOND);
      assert.ok(peer.info("TIMEOUTS") > 0);
      for (const packet of again) assert.is(packet.flags & CWR, 0);
      peer.ack = peer.info("SND_NXT");
      peer.send({});
      const [next] = peer.write(pattern(1000));
      assert.is(next!.flags, ACK | PSH | CWR);
      assert.is(CODEPOINT(next!), ECT0);
    });

    ecn(title("carries a transfer through a link that marks instead of dropping"), () => {
      let queued = 0;
      const pair = new Pair({
        build,
        family,
        b: { ecn: true },
        wire: {
          delayUs: 10_000,
          mark: (packet) => packet.payload.length > 0 && ++queued % 50 === 0,
        },
      });
      const handles = pair.open(true);
      const data = pattern(600_000);
      assert.equal(transfer(pair, "a", handles, data), data);
      assert.is(pair.a.info(handles.a, "BYTES_RETRANSMITTED"), 0);
      const marks = counter(pair.b.core, "TCP_ECN_MARKED");
      const reductions = counter(pair.a.core, "TCP_ECN_REDUCED");
      assert.ok(marks > 5, `${marks} marks`);
      assert.ok(reductions > 2 && reductions <= marks, `${reductions} reductions, ${marks} marks`);
    });

    ecn(title("goes on with marks and echoes after a move, and reduces no second time"), () => {
      const pair = new Pair({ build, family, b: { ecn: true }, wire: { delayUs: 10_000 } });
      const { a, b } = pair.open(true);
      let count = 0;
      pair.wire.pass = (_, from) => {
        pair.wire.delayUs = 10_000 + (from === "b" ? 100 * count++ : 0); // each is acknowledged alone
        return true;
      };
      const reduced = () => counter(pair.b.core, "TCP_ECN_REDUCED");
      pair.wire.mark = (packet) => packet.payload.length > 0 && reduced() === 0;
      pair.a.write(a, pattern(100), pair.now);
      pair.b.write(b, pattern(60_000), pair.now);
      pair.runUntil(() => reduced() === 1, 1);
      assert.is(counter(pair.b.core, "TCP_ECN_MARKED"), 1);
      pair.flush();
      const ssthresh = pair.b.info(b, "SSTHRESH");
      const echoes = (): number =>
        pair.trace.filter(({ from, packet }) => from === "a" && (packet.flags & ECE) !== 0).length;
      assert.ok(echoes() > 5, "all but the first are still on their way");
      pair.wire.mark = () => false;
      const { handle, blob } = moveB(pair, b, { startUs: 5_000_000 });
      assert.is(blob[4], 2, "the marks need version 2");
      const from = pair.trace.length;
      let read = pair.a.read(a, pair.now).length;
      pair.onStep = () => {
        read += pair.a.read(a, pair.now).length;
      };
      pair.runUntil(() => read === 60_000, 60);
      const sent = pair.trace.slice(from).filter((entry) => entry.from === "b");
      assert.is(sent[0]!.packet.flags & ECE, ECE, "the echo is still owed");
      const fresh = sent.filter(({ packet }) => packet.payload.length > 0).slice(1, 4);
      assert.ok(fresh.some(({ packet }) => CODEPOINT(packet) === ECT0));
      assert.is(reduced(), 0);
      assert.is(pair.b.info(handle, "SSTHRESH"), ssthresh);
      pair.a.write(a, pattern(100), pair.now);
      pair.run(100_000);
      const last = pair.trace.filter((entry) => entry.from === "b").at(-1)!;
      assert.is(last.packet.flags & ECE, 0, "the client has said CWR");
    });
  }
}

ecn.run();
