/** What strangers and stragglers can do to a connection: windows, RFC 5961, RFC 7323 section 5. */
import { ACK, FIN, PSH, RST, SYN } from "../../support/packet.ts";
import type { Script } from "../script.ts";
import { FULL, PLAIN, SACKING } from "../talk.ts";

const DAYS_24 = 24 * 86_400_000;

export const guard: readonly Script[] = [
  {
    name: "acknowledges data left of the window, and reports it by D-SACK",
    async run(t) {
      await t.accepted();
      t.send({ len: 100 });
      t.send({ seq: 1, len: 100 });
      t.send({ seq: 51, len: 50 });
    },
  },
  {
    name: "acknowledges data right of the window",
    async run(t) {
      await t.accepted();
      t.send({ seq: 500_001, len: 100 });
    },
  },
  {
    name: "takes the new part of data that is partly old",
    async run(t) {
      await t.accepted();
      t.send({ len: 100 });
      t.send({ seq: 51, len: 100 });
      t.read();
    },
  },
  {
    name: "answers ACKs outside the window at most twice a second",
    async run(t) {
      await t.accepted();
      t.send({ seq: 500_001 });
      t.send({ seq: 500_001 });
      await t.pass(600);
      t.send({ seq: 500_001 });
    },
  },
  {
    name: "believes a RST that is exact",
    async run(t) {
      await t.accepted();
      t.send({ flags: RST });
      t.state();
      t.read();
      t.write(10);
    },
  },
  {
    name: "believes an exact RST with an ACK that makes no sense",
    async run(t) {
      await t.accepted();
      t.send({ flags: RST | ACK, ack: 70_000 });
      t.state();
    },
  },
  {
    name: "challenges a RST inside the window",
    async run(t) {
      await t.accepted();
      t.send({ flags: RST, seq: 2 });
      t.send({ flags: RST, seq: 1000 });
      await t.pass(600);
      t.send({ flags: RST | ACK, seq: 1000 });
      t.state();
    },
  },
  {
    name: "ignores a RST outside the window",
    async run(t) {
      await t.accepted();
      t.send({ flags: RST, seq: 0 });
      t.send({ flags: RST, seq: 500_001 });
      t.send({ flags: RST | ACK, seq: -1000 });
      t.state();
    },
  },
  {
    name: "challenges a RST at the end of what was SACKed",
    async run(t) {
      await t.accepted();
      t.send({ seq: 101, len: 100 });
      t.send({ flags: RST, seq: 201 });
      t.state();
    },
  },
  {
    name: "drops a RST one before the end that the peer's FIN made",
    async run(t) {
      await t.accepted();
      t.send({ flags: ACK | FIN, len: 10 });
      t.send({ flags: RST, seq: 11 });
      t.state();
      t.send({ flags: RST, seq: 12 });
      t.state();
    },
  },
  {
    name: "believes an exact RST with an old timestamp",
    async run(t) {
      await t.accepted();
      t.send({ flags: RST, age: 500 });
      t.state();
    },
  },
  {
    name: "challenges a SYN in the window",
    async run(t) {
      await t.accepted();
      t.send({ flags: SYN, seq: 1 });
      t.send({ flags: SYN, seq: 2000 });
      await t.pass(600);
      t.send({ flags: SYN, seq: 2000 });
      t.state();
    },
  },
  {
    name: "challenges a SYN outside the window",
    async run(t) {
      await t.accepted();
      t.send({ flags: SYN, seq: -50_000, options: t.synOptions(FULL), age: 0 });
      t.state();
      await t.pass(600);
      t.send({ flags: SYN, seq: 900_000 });
      t.state();
    },
  },
  {
    name: "acknowledges its peer's SYN-ACK that comes again",
    silent: true,
    async run(t) {
      await t.connected();
      t.send({ flags: SYN | ACK, seq: 0, options: t.synOptions(FULL) });
      t.state();
    },
  },
  {
    name: "answers an ACK of what it has not sent",
    async run(t) {
      await t.accepted();
      t.send({ ack: 1000 });
      t.state();
    },
  },
  {
    name: "drops data whose ACK is of what it has not sent",
    async run(t) {
      await t.accepted();
      t.send({ ack: 1000, len: 10 });
      t.read();
    },
  },
  {
    name: "challenges an ACK older than its largest window",
    async run(t) {
      await t.accepted();
      t.send({ ack: -9_000_000 });
      t.send({ ack: -9_000_000, len: 10 });
      t.read();
    },
  },
  {
    name: "takes data with an ACK that is a little old",
    async run(t) {
      await t.accepted();
      t.write(100);
      t.send({ ack: 101 });
      t.send({ ack: 50, len: 10 });
      t.read();
    },
  },
  {
    name: "drops a segment without ACK",
    async run(t) {
      await t.accepted();
      t.send({ flags: 0, len: 10 });
      t.send({ flags: PSH, len: 10, seq: 1 });
      t.send({ flags: FIN, seq: 1 });
      t.state();
    },
  },
  {
    name: "drops data with an old timestamp and acknowledges it",
    async run(t) {
      await t.accepted();
      await t.pass(100);
      t.send({ len: 100 });
      t.send({ len: 100, seq: 101, age: 90 });
      t.read();
      t.send({ len: 100, seq: 101 });
      t.read();
    },
  },
  {
    name: "drops a pure ACK with a timestamp that is very old",
    async run(t) {
      await t.accepted();
      t.write(100);
      t.send({ ack: 101, age: DAYS_24 / 2 });
      t.write(100);
      t.send({ ack: 101 });
    },
  },
  {
    name: "takes a segment without the timestamps that were agreed",
    async run(t) {
      await t.accepted();
      t.send({ len: 100, options: new Uint8Array(0) });
      t.read();
    },
  },
  {
    name: "does not take TS.Recent from what is out of order",
    async run(t) {
      await t.accepted();
      await t.pass(100);
      t.send({ seq: 101, len: 100 });
      await t.pass(100);
      t.send({ seq: 201, len: 100 });
      t.send({ seq: 1, len: 100 });
    },
  },
  {
    name: "takes no timestamp that was not agreed",
    async run(t) {
      await t.accepted(SACKING);
      t.timestamps = true;
      t.send({ len: 100 });
      t.send({ len: 100, age: 100 });
      t.read();
    },
  },
  {
    name: "cuts data at the right edge of the window",
    socket: { receiveBuffer: 65_536 },
    async run(t) {
      await t.accepted(PLAIN);
      await t.fill(1460);
      const { room } = t;
      t.comment("a segment of which only a part fits, then one that lies wholly beyond");
      t.send({ seq: t.seq + room, len: 1000 });
      t.state();
    },
  },
  {
    name: "lives through numbers that wrap",
    iss: 0xffffff00,
    async run(t) {
      await t.accepted();
      for (let at = 0; at < 4; at++) t.send({ len: 200 });
      t.send({ seq: 1001, len: 100 });
      t.send({ seq: 801, len: 200 });
      t.read();
      t.send({ flags: RST, seq: 1000 });
      t.send({ flags: ACK | FIN, seq: 1101 });
      t.read();
    },
  },
];
