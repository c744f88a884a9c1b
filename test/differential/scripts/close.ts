/** How connections end: RFC 9293 3.6, 3.10.4 to 3.10.7, RFC 1337, RFC 6191, RFC 2525. */
import { ACK, FIN, PSH, RST, SYN } from "../../support/packet.ts";
import type { Script } from "../script.ts";
import { FULL, PLAIN, type Talk } from "../talk.ts";

const RTT = 20;
/** Linux delays the ACK of a FIN that comes without data ever before by one tick of its clock. */
const TICK = 15;

/** Closes first and reaches TIME-WAIT. */
async function timeWait(t: Talk): Promise<void> {
  await t.accepted(FULL, RTT);
  t.close();
  t.send({ ack: 2 });
  t.send({ flags: ACK | FIN, ack: 2 });
}

export const close: readonly Script[] = [
  {
    name: "closes first, through FIN-WAIT-1 and FIN-WAIT-2",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.state();
      t.send({ ack: 2 });
      t.state();
      t.send({ flags: ACK | FIN, ack: 2 });
      t.state();
      t.read();
    },
  },
  {
    name: "closes second, through CLOSE-WAIT and LAST-ACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ flags: ACK | FIN });
      await t.pass(TICK);
      t.state();
      t.read();
      t.shutdown();
      t.state();
      t.send({ ack: 2 });
      t.state();
    },
  },
  {
    name: "closes at the same time, through CLOSING",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ flags: ACK | FIN, ack: 1 });
      t.state();
      t.send({ ack: 2 });
      t.state();
    },
  },
  {
    name: "goes from FIN-WAIT-1 to TIME-WAIT when FIN and ACK come in one",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ flags: ACK | FIN, ack: 2 });
      t.state();
      t.send({ flags: ACK | FIN, seq: 1, ack: 2 });
    },
  },
  {
    name: "puts the FIN on the last data",
    async run(t) {
      t.win = 1000;
      await t.accepted(PLAIN, RTT);
      t.write(2500);
      t.shutdown();
      await t.pass(RTT);
      t.send({ ack: 1001, win: 65_535 });
      t.send({ ack: 2502 });
      t.state();
    },
  },
  {
    name: "sends on after the peer's FIN",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ flags: ACK | FIN });
      await t.pass(TICK);
      t.write(1000);
      await t.pass(RTT);
      t.send({ ack: 1001 });
      t.write(500);
      t.close();
      await t.pass(RTT);
      t.send({ ack: 1502 });
    },
  },
  {
    name: "reads on after its own FIN",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ ack: 2 });
      t.send({ len: 500, flags: ACK | PSH });
      t.read();
      t.send({ len: 500, flags: ACK | FIN });
      t.read();
      t.read();
      t.state();
    },
  },
  {
    name: "sends its FIN again",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.shutdown();
      await t.pass(1100);
      t.send({ ack: 2 });
      t.state();
    },
  },
  {
    name: "acknowledges a FIN that comes again in CLOSE-WAIT",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.send({ flags: ACK | FIN });
      await t.pass(TICK);
      t.send({ flags: ACK | FIN, seq: 1 });
      t.send({ flags: ACK | PSH, seq: 2, len: 10 });
      t.state();
    },
  },
  {
    name: "acknowledges a FIN that comes again in LAST-ACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ flags: ACK | FIN });
      await t.pass(TICK);
      t.close();
      t.send({ flags: ACK | FIN, seq: 1 });
      t.send({ ack: 2 });
      t.send({ ack: 2 });
    },
  },
  {
    name: "resets when it is closed with data unread",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ len: 100 });
      t.close();
      t.send({ ack: 1 });
    },
  },
  {
    name: "resets when data comes after it was closed",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.close();
      t.send({ ack: 2 });
      t.send({ len: 100, ack: 2 });
      t.send({ flags: ACK | FIN, seq: 101, ack: 2 });
    },
  },
  {
    name: "resets when data comes after it was closed and before its FIN is acknowledged",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.close();
      t.send({ len: 100, ack: 1 });
    },
  },
  {
    name: "resets when it aborts",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ len: 100 });
      t.abort();
      t.send({ ack: 1 });
    },
  },
  {
    name: "resets when it aborts with data in flight",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(1000);
      t.abort();
      t.send({ ack: 1001 });
    },
  },
  {
    name: "resets when it aborts with data that the window did not take",
    async run(t) {
      t.win = 1460;
      await t.accepted({ mss: 730 }, RTT);
      t.write(5000);
      t.abort();
    },
  },
  {
    name: "ends without a word when it aborts in FIN-WAIT-2 and in LAST-ACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ ack: 2 });
      t.abort();
      t.send({ flags: ACK | FIN, ack: 2 });
    },
  },
  {
    name: "lets the application read what came before a RST",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ len: 100 });
      t.send({ flags: RST });
      t.state();
      t.read();
      t.read();
    },
  },
  {
    name: "forgets what it has not sent when a RST comes",
    async run(t) {
      t.win = 1460;
      await t.accepted({ mss: 730 }, RTT);
      t.write(3000);
      t.send({ flags: RST });
      t.read();
      t.write(10);
    },
  },
  {
    name: "believes a RST in FIN-WAIT-1",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ flags: RST });
      t.state();
      t.send({ ack: 2 });
    },
  },
  {
    name: "believes a RST in FIN-WAIT-2",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ ack: 2 });
      t.send({ flags: RST });
      t.state();
      t.read();
    },
  },
  {
    name: "believes a RST in CLOSE-WAIT",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ flags: ACK | FIN });
      await t.pass(TICK);
      t.send({ flags: RST });
      t.state();
      t.write(10);
    },
  },
  {
    name: "believes a RST in LAST-ACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ flags: ACK | FIN });
      await t.pass(TICK);
      t.shutdown();
      t.send({ flags: RST });
      t.state();
      t.send({ ack: 2 });
    },
  },
  {
    name: "challenges a RST and a SYN inside the window while it closes",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.shutdown();
      t.send({ flags: RST, seq: 50 });
      await t.pass(600);
      t.send({ ack: 2 });
      t.send({ flags: SYN, seq: 50 });
      t.state();
    },
  },
  {
    name: "acknowledges a FIN and old data in TIME-WAIT",
    async run(t) {
      await timeWait(t);
      t.send({ flags: ACK | FIN, seq: 1, ack: 2 });
      t.send({ seq: 1, ack: 2, len: 10 });
      t.send({ seq: 2, ack: 2 });
      t.send({ seq: 500_001, ack: 2, len: 10 });
    },
  },
  {
    name: "stays in TIME-WAIT whatever RST comes",
    async run(t) {
      await timeWait(t);
      t.send({ flags: RST, seq: 2 });
      t.send({ flags: ACK | FIN, seq: 1, ack: 2 });
    },
  },
  {
    name: "opens anew from TIME-WAIT for a SYN with newer numbers",
    async run(t) {
      await timeWait(t);
      await t.pass(50);
      t.send({ flags: SYN, seq: 1000, options: t.synOptions(FULL) });
      t.comment("the new connection's numbers");
      t.restart(1000);
      t.send();
      t.accept();
      t.send({ len: 10, flags: ACK | PSH });
      t.read();
    },
  },
  {
    name: "opens anew from TIME-WAIT for a SYN with a newer timestamp and an older number",
    async run(t) {
      await timeWait(t);
      await t.pass(1100);
      t.send({ flags: SYN, seq: -100_000, options: t.synOptions(FULL) });
    },
  },
  {
    name: "answers a SYN with an older number and timestamp in TIME-WAIT",
    async run(t) {
      await timeWait(t);
      t.clock -= 10;
      t.send({ flags: SYN, seq: -100_000, options: t.synOptions(FULL) });
    },
  },
  {
    name: "opens anew from TIME-WAIT without timestamps by numbers only",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.close();
      t.send({ flags: ACK | FIN, ack: 2 });
      t.send({ flags: SYN, seq: 1, options: t.synOptions(PLAIN) });
      t.send({ flags: SYN, seq: 50_000, options: t.synOptions(PLAIN) });
    },
  },
];
