/** What comes to a connection that is over, and what strangers send to one that is not. RFC 6191, 1337, 5961. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, FIN, RST, SYN, option } from "../support/packet.ts";
import { PORT_A, pattern } from "./pair.ts";
import { Peer } from "./peer.ts";
import { lastValue, stampOf } from "./stamps.ts";

const lingering = suite("lingering");
const SECOND = 1_000_000;
const RECENT = 5000;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  /** Our end closed first and waits. The peer's last number is peer.seq - 1. */
  const waiting = (stamped: boolean): Peer => {
    const peer = new Peer(build);
    const syn = stamped ? [option.timestamps(RECENT, 0)] : [];
    peer.open(Buffer.concat([option.mss(1000), ...syn]));
    if (stamped) peer.options = () => option.timestamps(RECENT, lastValue(peer));
    peer.send({});
    peer.end.shutdown(peer.handle, peer.now);
    const [fin] = peer.poll();
    assert.ok((fin!.flags & FIN) !== 0);
    peer.ack += 1;
    peer.send({ flags: ACK | FIN });
    peer.seq += 1;
    assert.is(peer.end.core.f.timeWaitCount!(), 1);
    return peer;
  };
  const stamp = (value: number) => option.timestamps(value, 0);
  const NONE = new Uint8Array(0);

  lingering(title("admits a new SYN by its timestamp, or by its number, as RFC 6191 says"), () => {
    const cases: [before: boolean, options: Uint8Array, ahead: number, admitted: boolean][] = [
      [true, stamp(RECENT + 1), -1000, true],
      [true, stamp(RECENT), 1000, true],
      [true, stamp(RECENT), -1000, false],
      [true, stamp(RECENT - 1), 1000, false],
      [true, NONE, 1000, true],
      [true, NONE, -1000, false],
      [false, stamp(1), -1000, true],
      [false, NONE, 1000, true],
      [false, NONE, -1000, false],
    ];
    for (const [before, options, ahead, admitted] of cases) {
      const peer = waiting(before);
      const old = peer.sent.at(-1)!.packet.seq;
      const [answer] = peer.send({ flags: SYN, ack: 0, seq: peer.seq + ahead, options });
      const what = `${before}, ${options.length} bytes of options, ${ahead}`;
      assert.is(answer?.flags, admitted ? SYN | ACK : ACK, what);
      if (!admitted) continue;
      assert.ok(((answer!.seq - old) | 0) > 0, "numbers go on above the old ones");
      assert.is(peer.end.core.f.timeWaitCount!(), 0);
    }
  });

  lingering(title("never lets TSval step back into a new incarnation"), () => {
    const peer = waiting(true);
    const before = stampOf(peer.sent.at(-1)!.packet).value;
    const [answer] = peer.send({
      flags: SYN,
      ack: 0,
      seq: peer.seq + 1000,
      options: stamp(RECENT + 1),
    });
    assert.ok(((stampOf(answer!).value - before) | 0) >= 0);
  });

  lingering(title("starts its minute anew by the peer's own FIN only"), () => {
    const left = (fields: { seq: number; payload?: Uint8Array }) => {
      const peer = waiting(false);
      peer.run(40 * SECOND);
      const answers = peer.send({ flags: ACK | FIN, ...fields });
      assert.is(answers.length, 1, "it is answered in any case");
      peer.run(30 * SECOND);
      return peer.end.core.f.timeWaitCount!();
    };
    const { seq } = waiting(false);
    assert.is(left({ seq: seq - 1 }), 1);
    assert.is(left({ seq: seq - 11, payload: pattern(10) }), 1, "with its data");
    assert.is(left({ seq: seq + 77 }), 0, "a stranger's");
    assert.is(left({ seq: seq - 500 }), 0);
  });

  lingering(
    title("answers a strange ACK once a second, so that two ends cannot talk for ever"),
    () => {
      const peer = waiting(false);
      peer.run(SECOND);
      let answers = 0;
      for (let count = 0; count < 50; count++) answers += peer.send({ seq: peer.seq + 5 }).length;
      assert.is(answers, 1);
      peer.run(SECOND);
      assert.is(peer.send({ seq: peer.seq + 5 }).length, 1);
      assert.is(peer.send({}).length, 0, "and one that agrees never");
      assert.is(peer.send({ flags: RST }).length, 0);
      assert.is(peer.end.core.f.timeWaitCount!(), 1);
    },
  );

  lingering(title("limits challenge ACKs for each connection, never for all together"), () => {
    const count = 1200;
    const peer = new Peer(build, { connectionsMax: 2048, halfOpenMax: 2048 });
    const ends: { sourcePort: number; ack: number }[] = [];
    for (let at = 0; at < count; at++) {
      const sourcePort = PORT_A + at;
      const [synAck] = peer.send({ flags: SYN, ack: 0, sourcePort, options: option.mss(1000) });
      ends.push({ sourcePort, ack: synAck!.seq + 1 });
      peer.send({ seq: peer.seq + 1, ...ends.at(-1)! });
    }
    peer.run(2 * SECOND);
    // Somebody's flood: a challenge for each of its connections, within one second.
    for (const { sourcePort, ack } of ends.slice(1)) {
      assert.is(peer.send({ flags: RST, seq: peer.seq + 100, sourcePort, ack }).length, 1);
      assert.is(peer.send({ flags: RST, seq: peer.seq + 100, sourcePort, ack }).length, 0);
    }
    const { sourcePort, ack } = ends[0]!;
    const [challenge] = peer.send({ flags: SYN, seq: peer.seq + 100, sourcePort, ack });
    assert.is(
      challenge?.flags,
      ACK,
      "another connection cannot tell from its own that there was a flood",
    );
    assert.is(counter(peer.end.core, "TCP_CHALLENGES"), count);
  });

  lingering(title("sends a challenge ACK that a genuine peer can answer by an exact RST"), () => {
    const peer = new Peer(build);
    peer.open(option.mss(1000));
    const [challenge] = peer.send({ flags: SYN, seq: peer.seq + 5000, ack: 0 });
    assert.equal([challenge!.flags, challenge!.seq, challenge!.ack], [ACK, peer.ack, peer.seq]);
    assert.is(challenge!.payload.length, 0);
    peer.send({ flags: RST, seq: challenge!.ack });
    assert.is(peer.state(), "CLOSED");
  });
}

lingering.run();
