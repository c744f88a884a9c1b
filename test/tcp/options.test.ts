/** Options and headers as the peer sees them. RFC 9293 3.1, 3.2, 3.7.1; RFC 6691, 7323, 3168. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, CWR, ECE, FIN, RST, SYN, option } from "../support/packet.ts";
import type { TcpPacket } from "../support/packet.ts";
import { pattern, transfer } from "./pair.ts";
import { Pair } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const options = suite("options");
const bytes = (...values: number[]) => Uint8Array.from(values);
const ALL = Buffer.concat([
  option.mss(1460),
  option.sackPermitted(),
  option.timestamps(100, 0),
  option.windowScale(7),
]);

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    const title = (text: string) => `${text} (${build}, IPv${family})`;
    const mssOf = (packet: TcpPacket): number | undefined => {
      const found = packet.options.find(({ kind }) => kind === 2);
      return found && (found.bytes[0]! << 8) | found.bytes[1]!;
    };

    options(title("assumes the default MSS of its family when the SYN has none"), () => {
      const peer = new Peer(build, { family });
      peer.open(new Uint8Array(0));
      const mss = family === 4 ? 536 : 1220;
      assert.is(peer.info("SND_MSS"), mss);
      assert.equal(sizes(peer.write(pattern(2 * mss))), [mss, mss]);
    });

    options(
      title("sends segments no larger than the peer's MSS and the path take, options inside"),
      () => {
        for (const [mss, mtu] of [
          [1000, 1500],
          [9000, 1500],
          [9000, 9000],
          [700, 9000],
        ] as const) {
          const peer = new Peer(build, { family, mtu });
          peer.open(Buffer.concat([option.mss(mss), option.timestamps(1, 0)]));
          const packet = peer.write(pattern(20_000))[0]!;
          const headers = family === 4 ? 40 : 60;
          assert.is(packet.totalLen, Math.min(mss + headers, mtu));
          assert.is(packet.payload.length, Math.min(mss, mtu - headers) - 12);
        }
      },
    );

    options(
      title("announces an MSS of what the link takes less fixed headers, on SYNs only"),
      () => {
        for (const mtu of [1280, 1500, 9000]) {
          const expected = mtu - (family === 4 ? 40 : 60);
          const passive = new Peer(build, { family, mtu });
          assert.is(mssOf(passive.open(ALL)), expected);
          const active = new Peer(build, { family, mtu, listen: false });
          assert.is(mssOf(active.dialled()), expected);
          const later = [...passive.write(pattern(3000)), ...passive.run(3_000_000)];
          assert.ok(later.length > 3);
          for (const packet of later) assert.is(mssOf(packet), undefined);
        }
      },
    );

    options(title("ignores an MSS option on a segment that is no SYN"), () => {
      const peer = new Peer(build, { family });
      peer.open();
      const before = peer.info("SND_MSS");
      peer.send({ options: option.mss(100), payload: pattern(10) });
      assert.is(peer.info("SND_MSS"), before);
      assert.is(peer.info("UNREAD_BYTES"), 10);
    });

    options(title("takes options at any alignment and skips unknown ones on any segment"), () => {
      for (let shift = 0; shift < 4; shift++) {
        const nops = bytes(...Array<number>(shift).fill(1));
        const unknown = bytes(254, 3, 7);
        const pad = bytes(...Array<number>((8 - shift - 3 - 10) & 3).fill(0));
        const stamp = (value: number) => option.timestamps(value, 0).subarray(2);
        const syn = Buffer.concat([nops, unknown, stamp(77), pad]);
        const peer = new Peer(build, { family });
        peer.open(syn);
        assert.is(peer.info("TS_RECENT"), 77);
        const options = Buffer.concat([nops, unknown, stamp(78), pad]);
        peer.send({ options, payload: pattern(5) });
        assert.is(peer.info("TS_RECENT"), 78);
        assert.is(peer.info("UNREAD_BYTES"), 5);
      }
    });

    options(title("lives on after illegal option lengths on a SYN and on data"), () => {
      for (const broken of [
        bytes(8, 0, 0, 0),
        bytes(8, 1, 0, 0),
        bytes(8, 40, 0, 0),
        bytes(1, 1, 1, 8),
      ]) {
        const peer = new Peer(build, { family });
        peer.open(Buffer.concat([option.mss(1000), broken]));
        assert.is(peer.info("SND_MSS"), 1000);
        peer.send({ options: broken, payload: pattern(5) });
        assert.is(peer.info("UNREAD_BYTES"), 5);
      }
    });

    options(
      title("gives every option but NOP a length, and pads headers with nothing else"),
      () => {
        const peer = new Peer(build, { family });
        peer.options = () => option.timestamps(101, 0);
        const packets = [peer.open(ALL), ...peer.write(pattern(3000))];
        peer.send({ seq: peer.seq + 2000, payload: pattern(10) });
        packets.push(...peer.sent.map(({ packet }) => packet));
        assert.ok(packets.some((packet) => packet.options.some(({ kind }) => kind === 5)));
        for (const { optionBytes, options } of packets) {
          assert.is(optionBytes.length % 4, 0);
          const nops = optionBytes.length - options.reduce((n, o) => n + 2 + o.bytes.length, 0);
          let seen = 0;
          for (let at = 0; at < optionBytes.length;) {
            if (optionBytes[at] === 1) seen++;
            at += optionBytes[at] === 1 ? 1 : optionBytes[at + 1]!;
          }
          assert.is(seen, nops, "the walk by lengths meets every byte");
        }
      },
    );

    options(title("drops a segment with a wrong checksum and sends right ones only"), () => {
      const peer = new Peer(build, { family });
      peer.open();
      const answers = peer.send({ payload: pattern(10), tcpChecksum: 1 });
      assert.equal(answers, []);
      assert.is(peer.info("UNREAD_BYTES"), 0);
      assert.is(counter(peer.end.core, "TCP_CHECKSUM"), 1);
    });

    options(title("treats a window of 65535 scaled by 14 as the unsigned number it is"), () => {
      const peer = new Peer(build, { family });
      peer.open(Buffer.concat([option.mss(1460), option.windowScale(14)]));
      peer.send({ window: 65535 });
      assert.is(peer.info("SND_WND"), 65535 << 14);
      assert.ok(sizes(peer.write(pattern(10_000))).length > 5);
      peer.send({ window: 0x8000 });
      assert.is(peer.info("SND_WND"), 0x8000 << 14);
    });

    options(title("refuses ECN in the handshake and ignores its marks"), () => {
      const peer = new Peer(build, { family });
      const [synAck] = peer.send({ flags: SYN | ECE | CWR, ack: 0, options: ALL });
      assert.is(synAck!.flags, SYN | ACK);
      peer.seq += 1;
      peer.ack = (synAck!.seq + 1) >>> 0;
      peer.options = () => option.timestamps(101, 0);
      peer.send({ window: 1000 });
      peer.handle = peer.end.handles("ACCEPTED")[0]!;
      const cwnd = peer.info("CWND");
      peer.send({ flags: ACK | ECE | CWR, trafficClass: 3, payload: pattern(100) });
      assert.is(peer.info("UNREAD_BYTES"), 100);
      assert.is(peer.info("CWND"), cwnd);
      peer.seq += 100;
      for (const packet of [...peer.write(pattern(5000)), ...peer.run(500_000)]) {
        assert.is(packet.flags & (ECE | CWR), 0);
        assert.is(packet.trafficClass & 3, 0);
      }
    });

    options(title("sends what the application says: TTL and DSCP, changed at any time"), () => {
      const peer = new Peer(build, { family });
      peer.open();
      assert.is(peer.write(pattern(1))[0]!.ttl, 64);
      for (const [ttl, dscp] of [
        [1, 46],
        [255, 0],
        [33, 63],
      ] as const) {
        assert.is(peer.end.option(peer.handle, "TTL", ttl), 0);
        assert.is(peer.end.option(peer.handle, "DSCP", dscp), 0);
        peer.ack = peer.info("SND_NXT");
        peer.send({});
        const [packet] = peer.write(pattern(1));
        assert.is(packet!.ttl, ttl);
        assert.is(packet!.trafficClass, dscp << 2);
      }
      const bad = peer.end.core.constant("Err.ARGUMENT");
      assert.is(peer.end.option(peer.handle, "TTL", 0), bad);
      assert.is(peer.end.option(peer.handle, "DSCP", 64), bad);
    });

    options(title("takes a RST that carries data, and text that comes with a FIN"), () => {
      const peer = new Peer(build, { family });
      peer.open();
      peer.send({ flags: ACK | FIN, payload: pattern(20) });
      assert.is(peer.state(), "CLOSE_WAIT");
      assert.equal(peer.end.read(peer.handle, peer.now), pattern(20));
      peer.send({ flags: RST, seq: peer.seq + 21, payload: pattern(9) });
      assert.is(peer.end.events.at(-2)?.code, peer.end.core.constant("Err.RESET"));
    });
  }

  options(`reads past IP options that it does not understand (${build})`, () => {
    const peer = new Peer(build);
    peer.open();
    // Timestamp option, then a router alert: nothing that changes where the packet goes.
    for (const ipOptions of [
      bytes(68, 8, 5, 0, 0, 0, 0, 0),
      bytes(148, 4, 0, 0),
      bytes(1, 1, 1, 0),
    ]) {
      peer.send({ ipOptions, payload: pattern(7) });
      peer.seq += 7;
    }
    assert.is(peer.info("UNREAD_BYTES"), 21);
  });

  options(`drops source-routed packets, which could make its answers go astray (${build})`, () => {
    const peer = new Peer(build);
    peer.open();
    for (const kind of [131, 137]) {
      const ipOptions = bytes(kind, 7, 4, 192, 0, 2, 1, 0);
      assert.equal(peer.send({ ipOptions, payload: pattern(7) }), []);
    }
    assert.is(peer.info("UNREAD_BYTES"), 0);
  });

  options(`cuts a super-segment whose pieces were lost into segments again (${build})`, () => {
    let lost = 0;
    const pair = new Pair({
      build,
      a: { segmenting: 1 },
      b: { segmenting: 1 },
      wire: {
        delayUs: 5_000,
        pass: (packet, from) => from !== "a" || packet.payload.length < 3000 || ++lost !== 2,
      },
    });
    const handles = pair.open();
    const data = pattern(400_000);
    assert.equal(transfer(pair, "a", handles, data), data);
    assert.ok(lost > 2, "there were super-segments");
    assert.is(pair.a.info(handles.a, "TIMEOUTS"), 0);
  });
}

options.run();
