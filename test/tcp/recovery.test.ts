/** Loss: what is sent again, when, and what is not. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BUILDS } from "../support/core.ts";
import { counter } from "../support/batch.ts";
import type { TcpPacket } from "../support/packet.ts";
import { Pair, pattern, transfer } from "./pair.ts";

const recovery = suite("recovery");
const DATA = pattern(200_000);

for (const build of BUILDS) {
  const title = (text: string) => `${text} (${build})`;

  /** Data segments of a, first transmissions and others. */
  const dataOf = (pair: Pair) =>
    pair.trace.filter(({ from, packet }) => from === "a" && packet.payload.length > 0);

  recovery(title("repairs a single loss without a timeout, within 1.5 round trips"), () => {
    let lostSeq = -1;
    const pair = new Pair({
      build,
      wire: {
        delayUs: 10_000,
        pass: (packet, from) => {
          if (from !== "a" || packet.payload.length === 0 || lostSeq !== -1) return true;
          if (dataOf(pair).length < 20) return true;
          lostSeq = packet.seq;
          return false;
        },
      },
    });
    const handles = pair.open();
    assert.equal(transfer(pair, "a", handles, DATA), DATA);
    assert.is(pair.a.info(handles.a, "TIMEOUTS"), 0);
    const copies = dataOf(pair).filter(({ packet }) => packet.seq === lostSeq);
    assert.is(copies.length, 2);
    assert.ok(copies[1]!.at - copies[0]!.at <= 30_000, `${copies[1]!.at - copies[0]!.at} us`);
    assert.is(counter(pair.a.core, "TCP_RECOVERIES"), 1);
    assert.is(pair.a.info(handles.a, "BYTES_RETRANSMITTED"), copies[1]!.packet.payload.length);
  });

  recovery(title("repairs a lost tail by a probe instead of a timeout"), () => {
    const small = pattern(5_000);
    let dropped = false;
    const pair = new Pair({
      build,
      wire: {
        delayUs: 10_000,
        pass: (packet, from) => {
          const isTail = from === "a" && packet.payload.length > 0 && (packet.flags & 8) !== 0;
          if (!isTail || dropped) return true;
          dropped = true;
          return false;
        },
      },
    });
    const handles = pair.open();
    assert.equal(transfer(pair, "a", handles, small), small);
    assert.ok(dropped);
    assert.is(pair.a.info(handles.a, "TIMEOUTS"), 0);
    assert.is(counter(pair.a.core, "TCP_TAIL_PROBES"), 1);
  });

  recovery(title("retransmits after RTO, then backs off, and gives up in the end"), () => {
    let deaf = false;
    const pair = new Pair({ build, wire: { pass: () => !deaf } });
    const handles = pair.open();
    pair.run(1_000_000);
    deaf = true;
    pair.a.write(handles.a, pattern(100), pair.now);
    pair.runUntil(() => pair.a.handles("CLOSED").length === 1, 3600);
    assert.is(pair.a.events.at(-2)?.code ?? 0, pair.a.core.constant("Err.TIMEOUT"));
    const times = dataOf(pair).map(({ at }) => at);
    const gaps = times.slice(1).map((at, index) => at - times[index]!);
    // The first gap is the loss probe's; from then on every timeout waits twice as long, up to 120 s.
    for (let index = 3; index < gaps.length; index++) {
      const expected = Math.min(gaps[index - 1]! * 2, 120_000_000);
      assert.ok(Math.abs(gaps[index]! - expected) < 1_000, `gap ${index}: ${gaps[index]}`);
    }
    assert.ok(gaps.length >= 15, `${gaps.length} retransmissions`);
    assert.ok(times.at(-1)! - times[0]! > 100_000_000, "R2 is beyond 100 s (SHLD-11)");
  });

  recovery(title("ends by the user's time limit where there is one"), () => {
    let deaf = false;
    const pair = new Pair({ build, wire: { pass: () => !deaf } });
    const handles = pair.open();
    assert.is(pair.a.option(handles.a, "USER_TIMEOUT_US", 3_000_000), 0);
    deaf = true;
    const began = pair.now;
    pair.a.write(handles.a, pattern(100), pair.now);
    pair.runUntil(() => pair.a.handles("CLOSED").length === 1, 600);
    assert.ok(pair.now - began >= 3_000_000 && pair.now - began < 8_000_000, `${pair.now - began}`);
  });

  recovery(title("undoes a timeout that was spurious"), () => {
    const pair = new Pair({ build, wire: { delayUs: 1_000 } });
    const handles = pair.open();
    transfer(pair, "a", handles, pattern(50_000));
    pair.run(1_000_000);
    const before = pair.a.info(handles.a, "CWND");
    pair.wire.delayUs = 500_000; // everything is late, nothing is lost
    pair.a.write(handles.a, pattern(20_000), pair.now);
    pair.flush();
    pair.runUntil(() => pair.a.info(handles.a, "SND_UNA") === pair.a.info(handles.a, "SND_NXT"));
    assert.ok(pair.a.info(handles.a, "TIMEOUTS") > 0);
    assert.is(counter(pair.a.core, "TCP_UNDONE"), 1);
    assert.ok(pair.a.info(handles.a, "CWND") >= before / 2, "idle time may halve it, loss did not");
    assert.is(pair.a.info(handles.a, "SSTHRESH"), 0xffffffff);
  });

  recovery(title("never shuts its own window, whatever is lost, and reported twice"), () => {
    for (const seed of [348_453, 1, 2, 3, 4, 5, 6, 7]) {
      const pair = new Pair({ build, wire: { loss: 0.1, seed } });
      const handles = pair.open();
      const rest = { a: 37_505, b: 59_129 };
      const missing = { a: rest.b, b: rest.a };
      pair.onStep = () => {
        for (const name of ["a", "b"] as const) {
          rest[name] -= pair[name].write(handles[name], new Uint8Array(rest[name]), pair.now);
          const got = pair[name].read(handles[name], pair.now, 7_000).length;
          if (got === 7_000) pair.alarm = pair.now + 1_000;
          missing[name] -= got;
          assert.ok(pair[name].info(handles[name], "CWND") > 0, `seed ${seed}, ${pair.now} us`);
        }
      };
      pair.onStep();
      pair.runUntil(() => missing.a === 0 && missing.b === 0, 600);
    }
  });

  recovery(title("does not take reordering for loss for ever"), () => {
    const pair = new Pair({ build, wire: { delayUs: 20_000, jitterUs: 4_000, seed: 5 } });
    const handles = pair.open();
    const data = pattern(1_500_000);
    assert.equal(transfer(pair, "a", handles, data), data);
    assert.is(pair.a.info(handles.a, "TIMEOUTS"), 0);
    const again = pair.a.info(handles.a, "BYTES_RETRANSMITTED");
    assert.ok(again < data.length / 20, `${again} bytes were sent again`);
  });

  recovery(title("recovers without SACK by duplicate ACKs"), () => {
    let sent = 0;
    const pass = (packet: TcpPacket, from: string): boolean =>
      from !== "a" || packet.payload.length === 0 || ++sent !== 15;
    const pair = new Pair({ build, wire: { delayUs: 5_000, pass } });
    const handles = pair.open();
    for (const end of [pair.a, pair.b]) {
      // As if the option had not been negotiated: the flag is the block's.
      const handle = end === pair.a ? handles.a : handles.b;
      const block = end.core.f.tcbByHandle!(handle);
      const at = block + 44;
      const flags = end.core.view.getUint32(at, true);
      end.core.view.setUint32(at, flags & ~end.core.constant("Flag.SACK"), true);
    }
    assert.equal(transfer(pair, "a", handles, DATA), DATA);
    assert.ok(sent > 15);
    assert.is(pair.a.info(handles.a, "TIMEOUTS"), 0);
    assert.is(counter(pair.a.core, "TCP_RECOVERIES"), 1);
  });
}

recovery.run();
