/** Opening and closing over a clean wire. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { ACK, FIN, SYN } from "../support/packet.ts";
import { Pair, pattern, transfer } from "./pair.ts";

const handshake = suite("handshake");

for (const build of BUILDS) {
  for (const family of [4, 6] as const) {
    const title = (text: string) => `${text} (${build}, IPv${family})`;

    handshake(title("opens with three segments and tells both applications"), () => {
      const pair = new Pair({ build, family });
      const handles = pair.open();
      assert.is(pair.a.state(handles.a), "ESTABLISHED");
      assert.is(pair.b.state(handles.b), "ESTABLISHED");
      assert.equal(
        pair.trace.map(({ packet }) => packet.flags),
        [SYN, SYN | ACK, ACK],
      );
      assert.equal(pair.a.handles("CONNECTED"), [handles.a]);
    });

    handshake(title("carries data both ways"), () => {
      const pair = new Pair({ build, family });
      const handles = pair.open();
      const data = pattern(300_000);
      assert.equal(transfer(pair, "a", handles, data), data);
      assert.equal(transfer(pair, "b", handles, data), data);
      assert.is(pair.a.info(handles.a, "TIMEOUTS") + pair.b.info(handles.b, "TIMEOUTS"), 0);
    });

    handshake(title("closes from the opener's side through TIME-WAIT"), () => {
      const pair = new Pair({ build, family });
      const handles = pair.open();
      assert.is(pair.a.shutdown(handles.a, pair.now), 0);
      pair.runUntil(() => pair.b.handles("ENDED").length === 1);
      assert.is(pair.b.state(handles.b), "CLOSE_WAIT");
      pair.run(50_000); // its ACK may wait for the answer
      assert.is(pair.a.state(handles.a), "FIN_WAIT_2");
      pair.b.shutdown(handles.b, pair.now);
      pair.runUntil(() => pair.b.handles("CLOSED").length === 1);
      assert.is(pair.a.state(handles.a), "TIME_WAIT");
      assert.equal(pair.a.handles("CLOSED"), [handles.a]);
      assert.is(pair.trace.filter(({ packet }) => packet.flags & FIN).length, 2);
      const entered = pair.now;
      pair.runUntil(() => pair.a.handles("RELEASED").length === 1);
      assert.ok(pair.now - entered >= 59_000_000, "TIME-WAIT lasts a minute");
      pair.a.release(handles.a);
      pair.b.release(handles.b);
      assert.is(pair.a.core.f.tcbCount!(), 0);
      assert.is(pair.b.core.f.tcbCount!(), 0);
      assert.is(pair.a.core.f.chunksUsed!() + pair.b.core.f.chunksUsed!(), 0);
    });
  }
}

handshake.run();
