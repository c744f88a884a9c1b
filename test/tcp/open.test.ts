/** Opening: who may, with which numbers and addresses, and what an attempt leaves alone. RFC 9293 3.4, 3.5, 3.9. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counter, feed, setTuple, withAddress } from "../support/batch.ts";
import { BUILDS, type TestCore } from "../support/core.ts";
import { ACK, RST, SYN, buildTcp, option } from "../support/packet.ts";
import { ADDRESS, PORT_A, PORT_B, pattern } from "./pair.ts";
import { Peer } from "./peer.ts";

const open = suite("open");

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    const title = (text: string) => `${text} (${build}, IPv${family})`;
    const wrong =
      family === 4
        ? ["224.0.0.1", "255.255.255.255", "239.1.2.3", "0.0.0.0"]
        : ["ff02::1", "ff0e::1234", "::"];

    const dial = (core: TestCore, remote: string, local: string, localPort: number): number => {
      setTuple(core, { remote, remotePort: PORT_A, local, localPort });
      return core.f.connect!(2_000_000);
    };

    open(title("refuses to open to an address that is no host's"), () => {
      const { end } = new Peer(build, { family });
      for (const remote of wrong) {
        const local = ADDRESS[family].b;
        assert.is(dial(end.core, remote, local, 5000), end.core.constant("Err.ARGUMENT"), remote);
      }
      assert.is(end.core.f.tcbCount!(), 0);
    });

    open(title("takes the local address that an OPEN names and keeps it; none is no OPEN"), () => {
      const { end } = new Peer(build, { family });
      const local = family === 4 ? "10.0.0.77" : "fd00::77";
      const none = family === 4 ? "0.0.0.0" : "::";
      const { a } = ADDRESS[family];
      assert.is(dial(end.core, a, none, 5000), end.core.constant("Err.ARGUMENT"));
      assert.ok(dial(end.core, a, local, 5000) > 0);
      const peer = Object.assign(new Peer(build, { family, listen: false }), {});
      assert.ok(dial(peer.end.core, a, local, 5000) > 0);
      const packets = [...peer.poll(), ...peer.run(5_000_000)];
      assert.ok(packets.length >= 2, "the SYN again");
      for (const { source } of packets) assert.is(source, local);
    });

    open(title("sends no SYN and sets no timer for an attempt that is over"), () => {
      const peer = new Peer(build, { family, listen: false });
      const syn = peer.dialled();
      const { core } = peer.end;
      // The SYN is due again, but nobody has asked for packets when the peer refuses.
      core.f.handleTimeout!(peer.clock + 1_500_000);
      peer.now += 1_500_000;
      const { destination: source, source: destination } = syn;
      const refusal = { source, destination, sourcePort: PORT_A, destinationPort: syn.sourcePort };
      const bytes = buildTcp({ ...refusal, flags: RST | ACK, seq: 0, ack: peer.ack });
      feed(core, [bytes], peer.clock);
      assert.is(peer.state(), "CLOSED");
      const [nodelay, idle] = ["NODELAY", "KEEPALIVE_US"].map((name) =>
        core.constant(`Option.${name}`),
      );
      assert.is(core.f.setOption!(peer.handle, nodelay!, 1), 0);
      assert.is(core.f.setOption!(peer.handle, idle!, 1_000_000), 0);
      assert.equal(peer.poll(), []);
      assert.is(core.f.nextTimeoutUs!(), Infinity);
    });

    open(title("drops a SYN to a broadcast or multicast address without a word"), () => {
      const peer = new Peer(build, { family });
      for (const destination of wrong) {
        assert.equal(peer.send({ flags: SYN, ack: 0, destination }), [], destination);
      }
      assert.is(peer.end.core.f.tcbCount!(), 0);
    });

    open(
      title("drops a SYN from an address that is no host's, from port 0, and from itself"),
      () => {
        const peer = new Peer(build, { family });
        const { b } = ADDRESS[family];
        for (const source of wrong)
          assert.equal(peer.send({ flags: SYN, ack: 0, source }), [], source);
        assert.equal(peer.send({ flags: SYN, ack: 0, sourcePort: 0 }), []);
        assert.equal(peer.send({ flags: SYN, ack: 0, source: b, sourcePort: PORT_B }), []);
        assert.is(peer.end.core.f.tcbCount!(), 0);
      },
    );

    open(title("goes back to listening after a RST in SYN-RECEIVED, and tells nobody"), () => {
      const peer = new Peer(build, { family });
      peer.send({ flags: SYN, ack: 0 });
      assert.is(peer.end.core.f.tcbCount!(), 1);
      peer.send({ flags: RST, seq: peer.seq + 1 });
      assert.is(peer.end.core.f.tcbCount!(), 0);
      assert.equal(peer.events, []);
      peer.open();
      assert.is(peer.state(), "ESTABLISHED");
    });

    open(title("tells the opener of a RST after a simultaneous open"), () => {
      const peer = new Peer(build, { family, listen: false });
      peer.dialled();
      const [answer] = peer.send({ flags: SYN, ack: 0, options: option.mss(1460) });
      assert.is(answer!.flags, SYN | ACK);
      assert.is(peer.state(), "SYN_RECEIVED");
      peer.send({ flags: RST, seq: peer.seq + 1 });
      const closed = peer.end.events.find(({ type }) => type === "CLOSED");
      assert.is(closed?.code, peer.end.core.constant("Err.REFUSED"));
    });

    open(title("listens on a port that has connections, and disturbs none of them"), () => {
      const peer = new Peer(build, { family, listen: false });
      peer.dialled();
      const opening = peer.handle;
      const address = ADDRESS[family].b;
      const { core } = peer.end;
      assert.is(core.f.serviceRemove!(0), 0);
      assert.is(peer.end.addService(PORT_B, true), 0);
      assert.is(peer.end.state(opening), "SYN_SENT", "the attempt from that port goes on");
      const [synAck] = peer.send({ flags: SYN, ack: 0, sourcePort: 4444 });
      assert.is(synAck!.flags, SYN | ACK);
      const again = withAddress(core, address, (family, ptr) =>
        core.f.serviceAdd!(family, ptr, PORT_B, 0, 1),
      );
      assert.is(again, core.constant("Err.EXISTS"));
      peer.send({ flags: SYN | ACK, options: option.mss(1460) });
      assert.is(peer.end.state(opening), "ESTABLISHED");
      peer.send({ sourcePort: 4444, seq: peer.seq + 1, ack: synAck!.seq + 1 });
      assert.is(peer.end.handles("ACCEPTED").length, 1);
    });

    open(title("announces another MSS from the moment its service is given one"), () => {
      const peer = new Peer(build, { family });
      const { core } = peer.end;
      const announced = (sourcePort: number): number => {
        const [synAck] = peer.send({ flags: SYN, ack: 0, sourcePort });
        const found = synAck!.options.find(({ kind }) => kind === 2);
        return ((found?.bytes[0] ?? 0) << 8) | (found?.bytes[1] ?? 0);
      };
      const byLink = 1500 - (family === 4 ? 40 : 60);
      assert.is(announced(5001), byLink);
      assert.is(core.f.serviceMss!(0, 1200), 0);
      assert.is(announced(5002), 1200);
      assert.is(core.f.serviceMss!(0, 9000), 0);
      assert.is(announced(5003), byLink, "never more than the link takes");
      assert.is(core.f.serviceMss!(0, 1200), 0);
      assert.is(core.f.serviceMss!(0, 0), 0);
      assert.is(announced(5004), byLink);
      assert.is(core.f.serviceMss!(0, 65_536), core.constant("Err.ARGUMENT"));
      assert.is(core.f.serviceMss!(9999, 1200), core.constant("Err.ARGUMENT"));
      assert.is(core.f.serviceMss!(1, 1200), core.constant("Err.NOT_FOUND"));
      assert.is(core.f.serviceRemove!(0), 0);
      assert.is(core.f.serviceMss!(0, 1200), core.constant("Err.NOT_FOUND"));
    });

    open(
      title("chooses initial numbers that tick every 64 ns and differ by secret and 4-tuple"),
      () => {
        const isn = (after: number, isnSecret: number, sourcePort: number): number => {
          const peer = new Peer(build, { family, isnSecret: new Uint8Array(16).fill(isnSecret) });
          peer.now += after;
          return peer.send({ flags: SYN, ack: 0, sourcePort })[0]!.seq;
        };
        const first = isn(0, 1, PORT_A);
        assert.is((isn(4_000_000, 1, PORT_A) - first) >>> 0, 62_500_000);
        assert.is((isn(8, 1, PORT_A) - first) >>> 0, 125);
        const far = (other: number) => Math.abs((other - first) | 0) > 100_000;
        assert.ok(far(isn(0, 2, PORT_A)), "another secret");
        assert.ok(far(isn(0, 1, PORT_A + 1)), "another port");
      },
    );

    open(title("answers each SYN of a full backlog by a cookie, and keeps no block for it"), () => {
      const peer = new Peer(build, { family, halfOpenMax: 1 });
      peer.send({ flags: SYN, ack: 0, sourcePort: 1 });
      const [synAck] = peer.send({ flags: SYN, ack: 0 });
      assert.is(counter(peer.end.core, "TCP_COOKIES_SENT"), 1);
      assert.is(peer.end.core.f.tcbCount!(), 1);
      peer.seq += 1;
      peer.send({ ack: synAck!.seq + 2 });
      assert.equal(peer.end.handles("ACCEPTED"), [], "a guess is no cookie");
      peer.send({ ack: synAck!.seq + 1, payload: pattern(10) });
      assert.is(peer.end.handles("ACCEPTED").length, 1);
    });
  }
}

open.run();
