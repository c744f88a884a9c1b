/** What is sent and sent again: RFC 9293 3.7.4, 3.8; RFC 5681, 6298, 6582, 6675, 8985, 3042. */
import { ACK, PSH } from "../../support/packet.ts";
import type { Script } from "../script.ts";
import { FULL, PLAIN, SACKING } from "../talk.ts";

const RTT = 20;

export const send: readonly Script[] = [
  {
    name: "sends ten segments into a new connection",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(20_000);
    },
  },
  {
    name: "lets two segments out for each that is acknowledged in slow start",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(40_000);
      await t.pass(RTT);
      t.send({ ack: 2921 });
      t.send({ ack: 5841 });
    },
  },
  {
    name: "holds a second small segment until the first is acknowledged",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(10);
      t.write(10);
      t.write(10);
      await t.pass(RTT);
      t.send({ ack: 11 });
    },
  },
  {
    name: "sends small segments at once without Nagle",
    socket: { noDelay: true },
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(10);
      t.write(10);
      t.write(10);
    },
  },
  {
    name: "sends the small rest after full segments at once",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(3000);
      t.write(100);
      await t.pass(RTT);
      t.send({ ack: 3001 });
    },
  },
  {
    name: "respects the peer's window",
    async run(t) {
      t.win = 3000;
      await t.accepted(PLAIN, RTT);
      t.write(10_000);
      await t.pass(RTT);
      t.send({ ack: 2921 });
      await t.pass(RTT);
      t.send({ ack: 5841, win: 6000 });
    },
  },
  {
    name: "probes a window that is shut, backing off",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ win: 0 });
      t.write(100);
      await t.pass(1700);
      t.send({ win: 0 });
      t.send({ win: 5000 });
    },
  },
  {
    name: "goes on at once when the window opens",
    async run(t) {
      t.win = 1460;
      await t.accepted({ mss: 730 }, RTT);
      t.write(3000);
      await t.pass(RTT);
      t.send({ ack: 1461, win: 0 });
      await t.pass(50);
      t.send({ ack: 1461, win: 1460 });
    },
  },
  {
    name: "sends no small piece into a small window before its probe time",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(1460);
      await t.pass(RTT);
      t.send({ ack: 1461, win: 100 });
      t.write(2000);
      await t.pass(350);
    },
  },
  {
    name: "lives through a window that shrinks",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(5840);
      await t.pass(RTT);
      t.send({ ack: 1461, win: 1460 });
      t.write(2000);
      await t.pass(RTT);
      t.send({ ack: 5841, win: 8000 });
    },
  },
  {
    name: "takes no window from an old segment",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ len: 10 });
      t.send({ len: 10, win: 2000 });
      t.send({ seq: 1, win: 60_000 });
      t.write(4000);
    },
  },
  {
    name: "repairs the tail by a probe, then by timeouts that back off",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(1000);
      await t.pass(2_000);
      t.send({ ack: 1001 });
    },
  },
  {
    name: "probes the tail of several segments with the last",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(5000);
      await t.pass(180);
      t.send({ ack: 1, sack: [[4345, 5001]] });
      await t.pass(RTT);
      t.send({ ack: 5001 });
    },
  },
  {
    name: "probes the tail with new data",
    async run(t) {
      t.win = 30_000;
      await t.accepted({ ...FULL, scale: 0 }, RTT);
      t.write(14_480);
      await t.pass(5);
      t.write(1448);
      await t.pass(120);
    },
  },
  {
    name: "backs off without SACK, from the retransmission time-out on",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(1000);
      await t.pass(2_000);
      t.send({ ack: 1001 });
      t.write(1000);
      await t.pass(350);
    },
  },
  {
    name: "sends the lost segment again when three after it are SACKed",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(14_480);
      await t.pass(RTT);
      t.send({ ack: 1, sack: [[1449, 2897]] });
      t.send({ ack: 1, sack: [[1449, 4345]] });
      t.send({ ack: 1, sack: [[1449, 5793]] });
      await t.pass(RTT);
      t.send({ ack: 14_481 });
    },
  },
  {
    name: "sends the lost segment again when enough is SACKed at once",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(14_480);
      await t.pass(RTT);
      t.send({ ack: 1, sack: [[1449, 8689]] });
      t.send({ ack: 14_481 });
    },
  },
  {
    name: "waits a quarter of the round trip for what may be reordered",
    async run(t) {
      await t.accepted(FULL, 80);
      t.write(4344);
      await t.pass(80);
      t.send({ ack: 1, sack: [[1449, 2897]] });
      await t.pass(60);
      t.send({ ack: 4345 });
    },
  },
  {
    name: "believes in reordering when the hole fills in time",
    async run(t) {
      await t.accepted(FULL, 80);
      t.write(4344);
      await t.pass(80);
      t.send({ ack: 1, sack: [[1449, 2897]] });
      t.send({ ack: 2897 });
      await t.pass(40);
      t.send({ ack: 4345 });
    },
  },
  {
    name: "repairs two holes one after the other",
    async run(t) {
      await t.accepted(SACKING, RTT);
      t.write(14_600);
      await t.pass(RTT);
      t.send({ ack: 1, sack: [[1461, 2921]] });
      t.send({
        ack: 1,
        sack: [
          [4381, 5841],
          [1461, 2921],
        ],
      });
      t.send({
        ack: 1,
        sack: [
          [4381, 7301],
          [1461, 2921],
        ],
      });
      t.send({
        ack: 1,
        sack: [
          [4381, 14_601],
          [1461, 2921],
        ],
      });
      await t.pass(RTT);
      t.send({ ack: 2921, sack: [[4381, 14_601]] });
      t.send({ ack: 14_601 });
    },
  },
  {
    name: "sends a lost segment again after three duplicate ACKs without SACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(14_600);
      await t.pass(RTT);
      for (let at = 0; at < 5; at++) t.send({ ack: 1 });
      await t.pass(RTT);
      t.send({ ack: 14_601 });
    },
  },
  {
    name: "repairs a second hole at a partial ACK without SACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(14_600);
      await t.pass(RTT);
      for (let at = 0; at < 8; at++) t.send({ ack: 1 });
      await t.pass(RTT);
      t.send({ ack: 4381 });
      await t.pass(RTT);
      t.send({ ack: 14_601 });
    },
  },
  {
    name: "lets one new segment out for the first duplicate ACK",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(30_000);
      await t.pass(RTT);
      t.send({ ack: 1 });
    },
  },
  {
    name: "takes no duplicate ACK that carries data or a new window for one",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(14_600);
      await t.pass(RTT);
      t.send({ ack: 1, len: 10, flags: ACK | PSH });
      t.send({ ack: 1, len: 10, flags: ACK | PSH });
      t.send({ ack: 1, len: 10, flags: ACK | PSH });
      t.send({ ack: 1, win: 60_000 });
      t.send({ ack: 1, win: 61_000 });
      t.send({ ack: 1, win: 62_000 });
    },
  },
  {
    name: "undoes a time-out that the echoed timestamp shows was spurious",
    async run(t) {
      await t.accepted(FULL, RTT);
      t.write(14_480);
      await t.pass(RTT);
      t.send({ ack: 1449 });
      t.comment("nothing comes for a while, then the answers to the first transmissions");
      const old = t.remembered();
      await t.pass(330);
      t.echo(old);
      t.send({ ack: 2897 });
      t.send({ ack: 4345 });
      await t.pass(5);
      t.write(14_480);
    },
  },
  {
    name: "undoes a recovery when D-SACK shows that nothing was lost",
    async run(t) {
      await t.accepted(SACKING, RTT);
      t.write(14_600);
      await t.pass(RTT);
      t.send({ ack: 1, sack: [[1461, 8761]] });
      await t.pass(5);
      t.send({ ack: 14_601 });
      await t.pass(RTT);
      t.send({ ack: 14_601, sack: [[1, 1461]] });
      t.write(30_000);
    },
  },
  {
    name: "sends everything again when the peer takes back what it SACKed",
    async run(t) {
      await t.accepted(SACKING, RTT);
      t.write(5840);
      await t.pass(RTT);
      t.send({ ack: 1, sack: [[1461, 5841]] });
      await t.pass(260);
      t.send({ ack: 1461 });
      await t.pass(300);
      t.send({ ack: 5841 });
    },
  },
  {
    name: "marks urgent data by a pointer to the byte after it",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(10, true);
      t.send({ ack: 11 });
      t.write(10);
    },
  },
  {
    name: "gives up after the user timeout",
    socket: { userTimeoutMs: 1000 },
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(100);
      await t.pass(2500);
      t.state();
      t.read();
    },
  },
  {
    name: "gives up a window that is shut after the user timeout when nobody answers",
    socket: { userTimeoutMs: 1000 },
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.send({ win: 0 });
      t.write(100);
      await t.pass(2500);
      t.state();
    },
  },
  {
    name: "asks three times whether an idle peer is alive, then gives up",
    socket: { keepAlive: { idle: 1, interval: 1, probes: 3 } },
    async run(t) {
      await t.accepted(PLAIN, RTT);
      await t.pass(4_500);
      t.state();
      t.read();
    },
  },
  {
    name: "leaves an idle peer that answers alone",
    socket: { keepAlive: { idle: 1, interval: 1, probes: 2 } },
    async run(t) {
      await t.accepted(PLAIN, RTT);
      await t.pass(1_200);
      t.send();
      await t.pass(1_300);
      t.send();
      t.state();
    },
  },
];
