/** What is acknowledged and when: RFC 1122 4.2.3.2, RFC 5681 4.2, RFC 2018, RFC 2883, RFC 9293 3.8.6. */
import { ACK, FIN, PSH, URG } from "../../support/packet.ts";
import type { Script } from "../script.ts";
import { FULL, PLAIN, SACKING, type Talk } from "../talk.ts";

/** Request and reply, until the stack knows that data goes both ways. */
async function talkBothWays(t: Talk): Promise<void> {
  t.comment("request and reply");
  t.send({ flags: ACK | PSH, len: 100 });
  t.read();
  t.write(100);
  await t.pass(15);
  t.send();
}

export const receive: readonly Script[] = [
  {
    name: "acknowledges the first segments at once",
    async run(t) {
      await t.accepted();
      for (let at = 0; at < 4; at++) t.send({ len: 1000 });
    },
  },
  {
    name: "delays the ACK of a small segment once it has answered a request",
    async run(t) {
      await t.accepted();
      await talkBothWays(t);
      t.send({ flags: ACK | PSH, len: 100 });
      await t.pass(120);
      t.read();
    },
  },
  {
    name: "lets a reply carry the ACK",
    async run(t) {
      await t.accepted();
      await talkBothWays(t);
      t.send({ flags: ACK | PSH, len: 100 });
      t.read();
      t.write(50);
      await t.pass(15);
      t.send();
    },
  },
  {
    name: "acknowledges every second full segment",
    async run(t) {
      await t.accepted();
      await talkBothWays(t);
      for (let at = 0; at < 6; at++) {
        t.send({ len: 1448 });
        t.read();
      }
      await t.pass(120);
    },
  },
  {
    name: "acknowledges every second full segment that nobody reads",
    async run(t) {
      await t.accepted();
      await talkBothWays(t);
      for (let at = 0; at < 6; at++) t.send({ len: 1448 });
      await t.pass(120);
    },
  },
  {
    name: "reports what is out of order by SACK, the latest first",
    async run(t) {
      await t.accepted();
      t.send({ seq: 101, len: 100 });
      t.send({ seq: 301, len: 100 });
      t.send({ seq: 501, len: 100 });
      await t.pass(20);
      t.send({ seq: 701, len: 100 });
      t.send({ seq: 201, len: 100 });
      await t.pass(20);
      t.send({ seq: 1, len: 100 });
      t.send({ seq: 401, len: 100 });
      t.send({ seq: 601, len: 100 });
      t.read();
    },
  },
  {
    name: "reports four blocks where timestamps take no room",
    async run(t) {
      await t.accepted(SACKING);
      t.send({ seq: 101, len: 100 });
      t.send({ seq: 301, len: 100 });
      t.send({ seq: 501, len: 100 });
      await t.pass(20);
      t.send({ seq: 701, len: 100 });
      await t.pass(20);
      t.send({ seq: 901, len: 100 });
      await t.pass(20);
      t.send({ seq: 1, len: 1000 });
    },
  },
  {
    name: "repeats its ACK for what is out of order where there is no SACK",
    async run(t) {
      await t.accepted(PLAIN);
      t.send({ seq: 101, len: 100 });
      t.send({ seq: 201, len: 100 });
      t.send({ seq: 301, len: 100 });
      t.send({ seq: 1, len: 100 });
    },
  },
  {
    name: "reports a duplicate of what is out of order by D-SACK",
    async run(t) {
      await t.accepted();
      t.send({ seq: 101, len: 200 });
      t.send({ seq: 151, len: 50 });
      t.send({ seq: 251, len: 100 });
      t.send({ seq: 1, len: 100 });
    },
  },
  {
    name: "acknowledges at once when a hole is filled in part",
    async run(t) {
      await t.accepted();
      await talkBothWays(t);
      t.send({ seq: 301, len: 100 });
      t.send({ seq: 101, len: 100 });
      await t.pass(60);
      t.send({ seq: 201, len: 100 });
      await t.pass(60);
    },
  },
  {
    name: "keeps a FIN that is out of order",
    async run(t) {
      await t.accepted();
      t.send({ flags: ACK | FIN, seq: 101 });
      t.state();
      t.send({ seq: 1, len: 100 });
      t.state();
      t.read();
      t.read();
    },
  },
  {
    name: "keeps data and a FIN that are out of order",
    async run(t) {
      await t.accepted();
      t.send({ flags: ACK | FIN, seq: 101, len: 100 });
      t.send({ seq: 1, len: 100 });
      t.state();
      t.read();
      t.read();
    },
  },
  {
    name: "drops what lies beyond the FIN",
    async run(t) {
      await t.accepted();
      t.send({ flags: ACK | FIN, len: 100 });
      t.send({ seq: 102, len: 100 });
      t.send({ seq: 1, len: 300 });
      t.read();
      t.read();
    },
  },
  {
    name: "shuts its window while nobody reads and opens it again",
    socket: { receiveBuffer: 65_536 },
    async run(t) {
      await t.accepted(PLAIN);
      await t.fill(1460);
      t.comment("a probe of one byte, then one without data");
      t.send({ seq: t.seq + t.room, len: 1 });
      t.send({ seq: t.seq - 2 });
      t.comment("the application reads all of it");
      t.stack.read(1 << 20);
      await t.pass(15);
    },
  },
  {
    name: "takes a RST, an ACK and a FIN while its window is shut",
    socket: { receiveBuffer: 65_536 },
    async run(t) {
      await t.accepted(PLAIN);
      await t.fill(1460);
      t.write(100);
      t.send({ ack: 101 });
      t.write(50);
      t.state();
    },
  },
  {
    name: "answers a keep-alive with and without a byte of garbage",
    async run(t) {
      await t.accepted();
      t.send({ len: 100 });
      t.send({ seq: 100 });
      t.send({ seq: 100, len: 1 });
      t.send({ seq: 100 });
    },
  },
  {
    name: "takes urgent data as part of the stream",
    async run(t) {
      await t.accepted();
      t.send({ flags: ACK | PSH | URG, len: 10, urgent: 5 });
      t.read();
      t.read();
      t.send({ flags: ACK | URG, urgent: 3 });
      t.send({ len: 5 });
      t.read();
    },
  },
  {
    name: "acknowledges the first segments of a stream one by one",
    async run(t) {
      await t.accepted();
      for (let at = 0; at < 14; at++) {
        t.send({ len: 1448 });
        t.read();
      }
      await t.pass(80);
    },
  },
  {
    name: "takes a segment of 536 bytes after full ones",
    async run(t) {
      await t.accepted({ ...FULL });
      await talkBothWays(t);
      t.send({ len: 1448 });
      t.send({ len: 536 });
      await t.pass(80);
      t.send({ len: 536 });
      await t.pass(80);
    },
  },
];
