/** What a handshake settles: windows of SYNs, the first timeout and window, options of others. RFC 7323, 6298, 5681, 7413. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, SYN, option } from "../support/packet.ts";
import { PORT_A, pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";
import { stampOf } from "./stamps.ts";

const opening = suite("opening");
const MSS = 1000;
const SECOND = 1_000_000;
const SCALED = Buffer.concat([option.mss(MSS), option.windowScale(7)]);

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  /** The core dials; so many of its SYNs are lost. Returns the SYNs. */
  const dialled = (peer: Peer, lost: number) => {
    const syns = [peer.dialled()];
    for (let count = 0; count < lost; count++) {
      const [syn] = peer.run(SECOND << count);
      assert.is(syn?.flags, SYN, `SYN ${count + 2}`);
      syns.push(syn!);
    }
    peer.run(50_000);
    return syns;
  };
  const answer = (peer: Peer, options: Uint8Array) => {
    peer.send({ flags: SYN | ACK, options });
    peer.seq += 1;
    assert.is(peer.state(), "ESTABLISHED");
  };

  opening(title("does not scale the window of a SYN-ACK that carries data"), () => {
    const peer = new Peer(build);
    peer.dialled();
    peer.window = 5000;
    peer.send({ flags: SYN | ACK, options: SCALED, payload: pattern(10) });
    assert.is(peer.info("UNREAD_BYTES"), 10);
    assert.is(peer.info("SND_WND"), 5000);
    peer.seq += 11;
    peer.send({ payload: pattern(1) });
    assert.is(peer.info("SND_WND"), 5000 << 7);
  });

  opening(title("does not scale the window of the SYN-ACK of a simultaneous open"), () => {
    const peer = new Peer(build);
    peer.dialled();
    peer.window = 5000;
    peer.send({ flags: SYN, ack: 0, options: SCALED });
    assert.is(peer.state(), "SYN_RECEIVED");
    peer.send({ flags: SYN | ACK, options: SCALED });
    assert.is(peer.state(), "ESTABLISHED");
    assert.is(peer.info("SND_WND"), 5000);
  });

  opening(
    title("begins with a timeout of three seconds when a SYN was lost and nothing is measured"),
    () => {
      const dialling = new Peer(build);
      dialled(dialling, 1);
      answer(dialling, option.mss(MSS));
      assert.is(dialling.info("RTO_US"), 3 * SECOND);
      const asked = new Peer(build);
      const [synAck] = asked.send({ flags: SYN, ack: 0, options: option.mss(MSS) });
      assert.is(asked.run(SECOND).length, 1, "the SYN-ACK again");
      asked.seq += 1;
      asked.ack = synAck!.seq + 1;
      asked.send({});
      asked.handle = asked.end.handles("ACCEPTED").at(-1)!;
      assert.is(asked.info("RTO_US"), 3 * SECOND);
    },
  );

  opening(title("measures a SYN that was sent twice by the timestamp that is echoed"), () => {
    const peer = new Peer(build);
    const syns = dialled(peer, 1);
    answer(peer, Buffer.concat([option.mss(MSS), option.timestamps(1, stampOf(syns[1]!).value)]));
    assert.is(peer.info("SRTT_US"), 50_000);
    assert.ok(peer.info("RTO_US") < SECOND / 2);
  });

  opening(title("takes no sample from a SYN-ACK that was sent twice because the SYN was"), () => {
    const peer = new Peer(build);
    peer.send({ flags: SYN, ack: 0, options: option.mss(MSS) });
    peer.run(90_000);
    const [synAck] = peer.send({ flags: SYN, ack: 0, options: option.mss(MSS) });
    peer.run(10);
    peer.seq += 1;
    peer.ack = synAck!.seq + 1;
    peer.send({});
    peer.handle = peer.end.handles("ACCEPTED").at(-1)!;
    assert.is(peer.info("SRTT_US"), 0);
    assert.is(peer.info("RTT_MIN_US"), 0);
  });

  opening(
    title("sends one segment first after two lost SYNs, ten after one or when none was lost"),
    () => {
      const first = (lost: number, echoed?: number): number => {
        const peer = new Peer(build);
        const syns = dialled(peer, lost);
        const stamp =
          echoed === undefined ? [] : [option.timestamps(1, stampOf(syns[echoed]!).value)];
        answer(peer, Buffer.concat([option.mss(MSS), ...stamp]));
        return sizes(peer.write(pattern(20 * MSS))).length;
      };
      assert.is(first(0), 10);
      assert.is(first(1), 10);
      assert.is(first(2), 1);
      assert.is(first(2, 2), 1, "it answers the last one");
      assert.is(first(2, 0), 10, "it answers the first one: it was late");
    },
  );

  opening(
    title("opens with a client that asks for Fast Open, MPTCP, MD5 or AO, without any of it"),
    () => {
      const foreign = {
        "Fast Open": Uint8Array.of(34, 2, 1, 1),
        "an experiment": Uint8Array.of(254, 4, 0xf9, 0x89),
        MPTCP: Uint8Array.of(30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8),
        MD5: Uint8Array.of(19, 18, ...new Array<number>(16).fill(7), 1, 1),
        AO: Uint8Array.of(29, 16, 1, 1, ...new Array<number>(12).fill(7)),
      };
      for (const [name, bytes] of Object.entries(foreign)) {
        const peer = new Peer(build);
        const synAck = peer.open(Buffer.concat([bytes, option.mss(MSS), option.sackPermitted()]));
        assert.equal(
          synAck.options.map(({ kind }) => kind).filter((kind) => kind > 1),
          [2, 4],
          name,
        );
        peer.send({ options: bytes, payload: pattern(100) });
        assert.is(peer.info("UNREAD_BYTES"), 100, `${name}: data with it is data`);
      }
    },
  );

  opening(
    title("refuses an acknowledgement that guesses a cookie, or comes two minutes late"),
    () => {
      const cookie = () => {
        const peer = new Peer(build, { halfOpenMax: 1 });
        peer.send({ flags: SYN, ack: 0, sourcePort: 1 });
        const [synAck] = peer.send({ flags: SYN, ack: 0 });
        assert.is(counter(peer.end.core, "TCP_COOKIES_SENT"), 1);
        peer.seq += 1;
        return { peer, ack: (synAck!.seq + 1) >>> 0 };
      };
      const accepted = (peer: Peer) => peer.end.handles("ACCEPTED").length;
      const { peer, ack } = cookie();
      for (const bit of [0, 8, 16, 24, 27, 31]) {
        peer.send({ ack: (ack ^ (2 ** bit)) >>> 0 });
        peer.send({ ack, seq: (peer.seq ^ (2 ** bit)) >>> 0 });
        peer.send({ ack, sourcePort: PORT_A + 1 + bit });
      }
      assert.is(accepted(peer), 0);
      peer.run(60 * SECOND);
      peer.send({ ack });
      assert.is(accepted(peer), 1);
      const late = cookie();
      late.peer.run(129 * SECOND);
      late.peer.send({ ack: late.ack });
      assert.is(accepted(late.peer), 0);
    },
  );

  opening(title("ends an attempt to connect by the user's time limit"), () => {
    const peer = new Peer(build);
    peer.dialled();
    peer.end.option(peer.handle, "USER_TIMEOUT_US", 10 * SECOND);
    peer.run(10 * SECOND);
    assert.is(peer.state(), "SYN_SENT");
    peer.run(2 * SECOND);
    const end = peer.end.events.find(({ type }) => type === "CLOSED");
    assert.is(end?.code, peer.end.core.constant("Err.TIMEOUT"));
  });

  opening(title("leaves data of a SYN to be sent again"), () => {
    const peer = new Peer(build);
    const [synAck] = peer.send({
      flags: SYN,
      ack: 0,
      options: option.mss(MSS),
      payload: pattern(9),
    });
    assert.is(synAck!.ack, peer.seq + 1);
    peer.seq += 1;
    peer.ack = synAck!.seq + 1;
    peer.send({ payload: pattern(9) });
    peer.handle = peer.end.handles("ACCEPTED").at(-1)!;
    assert.equal(peer.end.read(peer.handle, peer.now), pattern(9));
  });
}

opening.run();
