/** RSTs for segments of no connection: how many in a second, and for whom without a limit. RFC 9293 3.10.7.1. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter, drain, feed, setTuple } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { ACK, RST } from "../support/packet.ts";
import { ADDRESS, PORT_B } from "./pair.ts";
import { Peer } from "./peer.ts";

const refuse = suite("refuse");
const SECOND = 1_000_000;
const LIMIT = 10_000;
/** Segments of connections that nobody knows. */
const STRANGERS = (() => {
  const peer = new Peer("release");
  return Array.from({ length: LIMIT + 500 }, (_, index) =>
    peer.build({ sourcePort: 1024 + index, flags: ACK, ack: 77 }),
  );
})();

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  /** How many of the first `count` strangers were answered with a RST. */
  const strangers = (peer: Peer, count: number): number => {
    const { core } = peer.end;
    const before = counter(core, "TCP_REFUSED");
    for (let sent = 0; sent < count; sent += 64) {
      feed(core, STRANGERS.slice(sent, Math.min(sent + 64, count)), peer.clock);
      drain(core, "pollTransmit", peer.clock);
    }
    return counter(core, "TCP_REFUSED") - before;
  };

  refuse(
    title("answers so many unknown segments in a second and no more, and counts the rest"),
    () => {
      const peer = new Peer(build);
      assert.is(strangers(peer, LIMIT + 500), LIMIT);
      assert.is(counter(peer.end.core, "TCP_REFUSED"), LIMIT);
      assert.is(counter(peer.end.core, "TCP_REFUSALS_WITHHELD"), 500);
      peer.now += SECOND;
      assert.is(strangers(peer, 100), 100, "the next second has its own");
      assert.is(counter(peer.end.core, "TCP_REFUSALS_WITHHELD"), 500);
    },
  );

  refuse(title("spends nothing of it on RSTs, which are never answered"), () => {
    const peer = new Peer(build);
    for (let round = 0; round < 200; round++) {
      const rst = peer.build({ flags: RST, seq: round, sourcePort: 5000 + round });
      assert.equal(peer.raw(...Array.from({ length: 64 }, () => rst)), []);
    }
    assert.is(counter(peer.end.core, "TCP_REFUSALS_WITHHELD"), 0);
    assert.is(strangers(peer, LIMIT), LIMIT);
  });

  refuse(title("goes on refusing the clients of a node that died, whatever strangers send"), () => {
    const peer = new Peer(build);
    const ports = { remotePort: 50_000, localPort: PORT_B };
    setTuple(peer.end.core, { remote: ADDRESS[4].a, local: ADDRESS[4].b, ...ports });
    const tomb = peer.end.core.constant("MapAction.TOMB");
    assert.is(peer.end.core.f.mapSet!(tomb, 0, 0), 0);
    assert.is(strangers(peer, LIMIT + 64), LIMIT);
    const [answer] = peer.send({ sourcePort: 50_000, ack: 12345 });
    assert.is(answer!.flags & RST, RST);
    assert.is(answer!.seq, 12345);
  });
}

refuse.run();
