/** ICMP errors: which are believed, what they change, what the application hears. RFC 9293 3.9.2.2, 5927, 1191. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter, drain, feed } from "../support/batch.ts";
import { BUILDS } from "../support/core.ts";
import { SYN, option } from "../support/packet.ts";
import { pattern } from "./pair.ts";
import { Peer, sizes } from "./peer.ts";

const icmp = suite("icmp");

/** Type and code of errors that must not end a connection, by family; then hard ones. */
const SOFT = {
  4: [
    [3, 0],
    [3, 1],
    [3, 5],
    [11, 0],
    [12, 0],
  ],
  6: [
    [1, 0],
    [1, 3],
    [3, 0],
    [4, 0],
  ],
} as const;
const HARD = { 4: [3, 3], 6: [1, 4] } as const;

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    const title = (text: string) => `${text} (${build}, IPv${family})`;
    const opened = (): Peer => {
      const peer = new Peer(build, { family });
      peer.open();
      return peer;
    };
    const troubles = (peer: Peer) => peer.end.events.filter(({ type }) => type === "TROUBLE");

    icmp(title("reports soft errors to the application and goes on"), () => {
      for (const [type, code] of SOFT[family]) {
        const peer = opened();
        peer.write(pattern(100));
        peer.icmp([type, code], peer.quote(peer.ack));
        const [event, ...more] = troubles(peer);
        assert.is(more.length, 0);
        assert.is(event!.code & 255, code);
        assert.is(peer.info("SOFT_ERROR"), event!.code);
        assert.is(peer.state(), "ESTABLISHED");
        peer.ack += 100;
        peer.send({});
        assert.is(peer.info("SND_UNA"), peer.ack >>> 0);
      }
    });

    icmp(title("does not end a synchronised connection by a hard error either"), () => {
      const peer = opened();
      peer.write(pattern(100));
      peer.icmp(HARD[family], peer.quote(peer.ack));
      assert.is(troubles(peer).length, 1);
      assert.is(peer.state(), "ESTABLISHED");
    });

    icmp(title("gives up an attempt to connect by a hard error, not by a soft one"), () => {
      for (const soft of [true, false]) {
        const peer = new Peer(build, { family, listen: false });
        const syn = peer.dialled();
        const [type, code] = soft ? SOFT[family][0] : HARD[family];
        peer.icmp([type, code], peer.quote(syn.seq));
        assert.is(peer.state(), soft ? "SYN_SENT" : "CLOSED");
        const closed = peer.end.events.find((event) => event.type === "CLOSED");
        assert.is(closed?.code, soft ? undefined : peer.end.core.constant("Err.REFUSED"));
      }
    });

    icmp(title("ignores an error that quotes nothing outstanding, and a source quench"), () => {
      const peer = opened();
      peer.write(pattern(100));
      const before = peer.info("CWND");
      peer.icmp(HARD[family], peer.quote(peer.ack + 100));
      peer.icmp(HARD[family], peer.quote(peer.ack - 1));
      assert.is(counter(peer.end.core, "TCP_ICMP_REFUSED"), 2);
      if (family === 4) peer.icmp([4, 0], peer.quote(peer.ack));
      assert.is(troubles(peer).length, 0);
      assert.is(peer.info("CWND"), before);
      assert.is(peer.state(), "ESTABLISHED");
    });

    icmp(title("changes nothing of a frozen connection: a blob has its state already"), () => {
      const peer = opened();
      peer.write(pattern(100));
      const { core } = peer.end;
      assert.is(core.f.freeze!(peer.handle), 0);
      const before = peer.info("PMTU");
      const tooBig = family === 4 ? ([3, 4] as const) : ([2, 0] as const);
      peer.icmp(tooBig, peer.quote(peer.ack), 1280);
      peer.icmp(SOFT[family][0], peer.quote(peer.ack));
      assert.is(counter(core, "TCP_FROZEN_DROPPED"), 2);
      assert.is(peer.info("PMTU"), before);
      assert.is(peer.info("SOFT_ERROR"), 0);
      assert.is(troubles(peer).length, 0);
    });

    icmp(
      title("sends everything that was too big again at once, smaller, blaming no congestion"),
      () => {
        const peer = new Peer(build, { family });
        peer.open(Buffer.concat([option.mss(1400), option.sackPermitted()]));
        const [before, after] = [1400, family === 4 ? 1240 : 1220];
        for (let at = 0; at < 7000; at += 1400) {
          assert.equal(sizes(peer.write(pattern(before, at))), [before]);
          peer.run(1_000); // segments of different age
        }
        const cwnd = peer.info("CWND");
        const tooBig = family === 4 ? ([3, 4] as const) : ([2, 0] as const);
        const again = peer.icmp(tooBig, peer.quote(peer.ack), 1280);
        assert.is(peer.info("PMTU"), 1280);
        assert.is(peer.info("SND_MSS"), after);
        assert.ok(again.every(({ totalLen }) => totalLen <= 1280));
        assert.is(again[0]!.seq, peer.ack >>> 0);
        assert.is(
          sizes(again).reduce((sum, length) => sum + length, 0),
          7000,
        );
        assert.is(peer.info("CWND"), cwnd);
        assert.is(peer.info("SSTHRESH"), 0xffffffff);
        peer.ack += 7000;
        peer.send({});
        assert.is(peer.info("SND_UNA"), peer.info("SND_NXT"));
        assert.is(peer.info("TIMEOUTS"), 0);
      },
    );

    icmp(title("believes no path MTU below the family's floor, and none that grows"), () => {
      const peer = opened();
      peer.write(pattern(100));
      const tooBig = family === 4 ? ([3, 4] as const) : ([2, 0] as const);
      peer.icmp(tooBig, peer.quote(peer.ack), 9000);
      assert.is(peer.info("PMTU"), 1500);
      peer.icmp(tooBig, peer.quote(peer.ack), 70);
      // A router of IPv4 may have meant it, more or less; one of IPv6 cannot have (RFC 8201 4).
      assert.is(peer.info("PMTU"), family === 4 ? 552 : 1500);
      if (family === 4) return;
      for (const mtu of [0, 1279]) peer.icmp(tooBig, peer.quote(peer.ack), mtu);
      assert.is(peer.info("PMTU"), 1500);
      peer.icmp(tooBig, peer.quote(peer.ack), 1280);
      assert.is(peer.info("PMTU"), 1280);
    });

    if (family === 6) continue;

    icmp(title("sets DF on every packet of IPv4, answers without a connection too"), () => {
      const peer = opened();
      peer.end.write(peer.handle, pattern(5000), peer.now);
      const syn = peer.build({ flags: SYN, ack: 0, sourcePort: 7, options: option.mss(1460) });
      const stray = peer.build({ sourcePort: 8 });
      feed(peer.end.core, [syn, stray], peer.clock);
      const out = drain(peer.end.core, "pollTransmit", peer.clock);
      assert.ok(out.length >= 5);
      for (const { bytes } of out) assert.is(bytes[6]! & 0xe0, 0x40, "DF, and no fragment");
    });

    icmp(title("takes 576 for an MTU that a router does not name"), () => {
      const peer = opened();
      peer.write(pattern(3000));
      const again = peer.icmp([3, 4], peer.quote(peer.ack), 0);
      assert.is(peer.info("PMTU"), 576);
      assert.ok(again.length > 0 && again.every(({ totalLen }) => totalLen <= 576));
    });
  }
}

icmp.run();
