/** Recovery: peers without SACK, and how much leaves meanwhile. RFC 5681, 6582, 3042, 9937. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, FIN, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const newreno = suite("newreno");
const MSS = 1000;
const MS = 1000;
const RTT = 50 * MS;

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (...more: Uint8Array[]): Peer => {
    const peer = new Peer(build);
    peer.open(Buffer.concat([option.mss(MSS), option.windowScale(7), ...more]));
    peer.end.option(peer.handle, "CONGESTION", 1);
    return peer;
  };
  const inFlight = (peer: Peer, segments: number): number => {
    assert.is(sizes(peer.write(pattern(segments * MSS))).length, segments);
    peer.run(RTT);
    return peer.ack;
  };

  newreno(title("starts no fast retransmit by duplicates of what a timeout sent again"), () => {
    const peer = opened();
    const una = inFlight(peer, 5);
    while (peer.info("TIMEOUTS") === 0) peer.run(MS);
    // All had arrived: the ACKs were lost. What the timeout sends again is answered by duplicate ACKs.
    peer.ack = una + 5 * MSS;
    peer.send({});
    const out = sizes(peer.write(pattern(5 * MSS))).length;
    assert.ok(out > 0);
    for (let count = 0; count < 5; count++) {
      const again = peer.send({}).filter(({ seq }) => seq === peer.ack >>> 0);
      assert.equal(again, [], `duplicate ${count + 1}`);
    }
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 0);
    // Beyond it three of them mean what they always do.
    peer.ack += MSS;
    peer.send({});
    peer.write(pattern(8 * MSS));
    for (let count = 0; count < 3; count++) peer.send({});
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 1);
  });

  newreno(title("counts no data, no FIN and no new window as a duplicate ACK"), () => {
    const peer = opened();
    const una = inFlight(peer, 6);
    for (let count = 0; count < 4; count++) {
      peer.window -= 1000;
      peer.send({});
    }
    for (let count = 0; count < 4; count++)
      peer.send({ seq: peer.seq + 10 + count, payload: pattern(1) });
    for (let count = 0; count < 4; count++) peer.send({ flags: ACK | FIN, seq: peer.seq + 100 });
    const again = peer.sent.filter(({ packet }) => packet.seq === una && packet.payload.length > 0);
    assert.is(again.length, 1);
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 0);
  });

  newreno(title("lets nothing out for a duplicate ACK without news from a peer with SACK"), () => {
    const peer = opened(option.sackPermitted());
    peer.end.write(peer.handle, pattern(40 * MSS), peer.now);
    assert.is(sizes(peer.poll()).length, 10);
    peer.run(RTT);
    for (let count = 0; count < 4; count++) assert.equal(peer.send({}), []);
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 0);
  });

  newreno(title("grows by the bytes that ACKs cover, however many they are"), () => {
    const peer = opened();
    const una = inFlight(peer, 10);
    const before = peer.info("CWND");
    for (let piece = 1; piece <= 20; piece++) {
      peer.ack = una + piece * (MSS / 20);
      peer.send({});
    }
    assert.is(peer.info("CWND"), before + MSS);
  });

  newreno(title("repairs one hole a round trip by partial ACKs, and ends at ssthresh"), () => {
    const peer = opened();
    const una = inFlight(peer, 10);
    const cwnd = peer.info("CWND");
    let [again] = [1, 2, 3].map(() => peer.send({}))[2]!;
    assert.is(again!.seq, una);
    assert.is(peer.info("SSTHRESH"), cwnd / 2);
    assert.is(peer.info("CWND"), cwnd / 2 + 3 * MSS, "what three duplicates say has left");
    peer.send({});
    assert.is(peer.info("CWND"), cwnd / 2 + 4 * MSS);
    peer.run(RTT);
    peer.ack = una + 4 * MSS; // the fifth is missing as well
    [again] = peer.send({});
    assert.is(again!.seq, una + 4 * MSS);
    assert.is(peer.info("PHASE"), 1);
    peer.run(RTT);
    peer.ack = una + 10 * MSS;
    peer.send({});
    assert.is(peer.info("PHASE"), 0);
    assert.is(peer.info("CWND"), cwnd / 2);
    assert.is(counter(peer.end.core, "TCP_RECOVERIES"), 1);
    assert.is(peer.info("TIMEOUTS"), 0);
  });

  newreno(
    title("sends in proportion to what arrives while the pipe is above ssthresh (PRR)"),
    () => {
      const peer = opened(option.sackPermitted());
      const una = inFlight(peer, 10);
      const all = una + 10 * MSS;
      peer.end.write(peer.handle, pattern(40 * MSS), peer.now);
      let sent = 0;
      // The first is lost; each ACK reports one segment more.
      for (let upTo = 2; upTo <= 10; upTo++) {
        const out = sizes(peer.send({ options: option.sack([una + MSS, una + upTo * MSS]) }));
        if (peer.info("PHASE") === 1) {
          sent += out.length;
          assert.ok(peer.info("FLIGHT_BYTES") <= peer.info("CWND") + MSS);
          assert.ok(out.length <= 2, `${out.length} at once`);
        }
      }
      const ssthresh = peer.info("SSTHRESH");
      assert.ok(peer.info("FLIGHT_BYTES") <= ssthresh + 2 * MSS, "towards ssthresh");
      assert.ok(sent >= 3 && sent <= 8, `${sent} segments`);
      peer.run(RTT);
      peer.ack = peer.info("SND_NXT");
      assert.ok(peer.ack > all);
      peer.send({});
      assert.is(peer.info("PHASE"), 0);
      assert.is(peer.info("CWND"), ssthresh);
    },
  );

  newreno(title("sends nothing in recovery for an ACK that delivers nothing (PRR)"), () => {
    const peer = opened(option.sackPermitted());
    const una = inFlight(peer, 10);
    peer.end.write(peer.handle, pattern(40 * MSS), peer.now);
    peer.send({ options: option.sack([una + MSS, una + 5 * MSS]) });
    assert.is(peer.info("PHASE"), 1);
    const cwnd = peer.info("CWND");
    const out = peer.send({ options: option.sack([una + MSS, una + 5 * MSS]) });
    assert.equal(out, []);
    assert.is(peer.info("CWND"), cwnd);
  });

  newreno(
    title("lets out one segment more for each ACK that moves on without another loss (PRR)"),
    () => {
      const grown = (lossToo: boolean): number => {
        const peer = opened(option.sackPermitted());
        const una = inFlight(peer, 10);
        peer.end.write(peer.handle, pattern(40 * MSS), peer.now);
        // Eight of ten are lost: the pipe is far below ssthresh.
        peer.send({ options: option.sack([una + 7 * MSS, una + 10 * MSS]) });
        assert.is(peer.info("PHASE"), 1);
        peer.run(RTT);
        const before = peer.info("FLIGHT_BYTES");
        peer.ack = una + MSS;
        const [left, right] = lossToo
          ? [una + 10 * MSS, una + 10 * MSS]
          : [una + 7 * MSS, una + 10 * MSS];
        peer.send(left === right ? {} : { options: option.sack([left, right]) });
        return peer.info("FLIGHT_BYTES") - before;
      };
      assert.is(grown(false), MSS, "one delivered, two out");
    },
  );
}

newreno.run();
