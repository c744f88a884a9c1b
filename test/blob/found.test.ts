/** Connections that could not move, as the fuzzer of the core found them: what runs must compile to a blob. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { ACK, FIN, SYN, option } from "../support/packet.ts";
import { pattern } from "../tcp/pair.ts";
import { Peer } from "../tcp/peer.ts";
import { stamps } from "../tcp/stamps.ts";
import { compile, freeze, setMapping } from "./mover.ts";

const found = suite("connections that could not move");

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;
  const opened = (...options: Uint8Array[]): Peer => {
    const peer = new Peer(build);
    const [synAck] = peer.send({ flags: SYN, ack: 0, options: Buffer.concat(options) });
    peer.seq += 1;
    peer.ack = synAck!.seq + 1;
    if (options.length > 0) stamps(peer);
    peer.send({});
    peer.handle = peer.end.handles("ACCEPTED").at(-1)!;
    return peer;
  };
  const move = (peer: Peer): void => {
    freeze(peer.end.core, peer.handle);
    setMapping(peer.end.core);
    assert.ok(compile(peer.end.core, peer.handle, peer.clock).length > 0);
  };

  found(title("take no FIN that says that bytes which came do not exist"), () => {
    const peer = opened();
    const { seq } = peer;
    peer.send({ seq: seq + 1000, payload: pattern(500) });
    peer.send({ seq: seq + 1200, flags: ACK | FIN });
    move(peer);
    const other = opened();
    other.send({ seq: other.seq + 1000, payload: pattern(500) });
    other.send({ seq: other.seq + 1200, flags: ACK | FIN });
    // The stream is what came first: whole, and without an end until a FIN comes behind it.
    other.send({ payload: pattern(1000) });
    assert.is(other.info("UNREAD_BYTES"), 1500);
    assert.is(other.state(), "ESTABLISHED");
    other.send({ seq: other.seq + 1500, flags: ACK | FIN });
    assert.is(other.state(), "CLOSE_WAIT");
  });

  found(title("measure no round trip that is longer than the longest timeout"), () => {
    const peer = opened(option.mss(1012), option.windowScale(7), option.timestamps(999, 0));
    peer.write(pattern(1000));
    // The node itself stood still, so that nothing was sent again.
    peer.now += 600_000_000;
    peer.ack += 1000;
    peer.send({});
    assert.ok(peer.info("SRTT_US") > 1_000_000, "it is a sample");
    assert.ok(peer.info("SRTT_US") <= 120_000_000, `${peer.info("SRTT_US")}`);
    move(peer);
  });
}

found.run();
