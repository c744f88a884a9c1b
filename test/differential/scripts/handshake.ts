/** How connections begin: RFC 9293 3.5, 3.10.7.2 to 3.10.7.4, RFC 7323, RFC 2018. */
import { ACK, FIN, PSH, RST, SYN, URG } from "../../support/packet.ts";
import type { Script } from "../script.ts";
import { FULL, PLAIN, SACKING } from "../talk.ts";

const ECE = 64;
const CWR = 128;

export const handshake: readonly Script[] = [
  {
    name: "accepts a SYN with every option",
    async run(t) {
      await t.accepted();
      t.state();
      t.send({ flags: ACK | PSH, len: 100 });
      t.read();
      t.write(100);
    },
  },
  {
    name: "accepts a SYN without options",
    async run(t) {
      await t.accepted({});
      t.send({ flags: ACK | PSH, len: 100 });
      t.write(1000);
    },
  },
  {
    name: "offers back what was offered: MSS only",
    async run(t) {
      await t.accepted(PLAIN);
      t.send({ len: 100 });
      t.write(2000);
    },
  },
  {
    name: "offers back what was offered: SACK",
    async run(t) {
      await t.accepted(SACKING);
      t.write(100);
    },
  },
  {
    name: "offers back what was offered: timestamps",
    async run(t) {
      await t.accepted({ mss: 1460, timestamps: true });
      t.write(100);
    },
  },
  {
    name: "offers back what was offered: window scale",
    async run(t) {
      await t.accepted({ mss: 1460, scale: 3 });
      t.write(100);
    },
  },
  {
    name: "offers back what was offered: timestamps and window scale",
    async run(t) {
      await t.accepted({ mss: 1460, scale: 3, timestamps: true });
      t.write(100);
    },
  },
  {
    name: "sends segments of the peer's MSS, less the timestamps",
    async run(t) {
      await t.accepted({ ...FULL, mss: 1000 });
      t.write(3000);
    },
  },
  {
    name: "ignores an MSS of zero",
    async run(t) {
      await t.accepted({ mss: 0 });
      t.write(1200);
    },
  },
  {
    name: "takes a window scale above 14 as 14",
    async run(t) {
      await t.accepted({ mss: 1460, scale: 15 });
      // 1 << 14 bytes, one segment more than 11.
      t.send({ win: 1, len: 10 });
      t.write(30_000);
    },
  },
  {
    name: "skips options that it does not know on a SYN",
    async run(t) {
      await t.accepted({ raw: Uint8Array.of(254, 6, 0xf9, 0x89, 1, 2, 1, 1), mss: 1460 });
      t.send({ len: 10, options: Uint8Array.of(253, 4, 1, 2) });
    },
  },
  {
    name: "ignores what would be TCP Fast Open, Multipath TCP and user timeout options",
    async run(t) {
      const fastOpen = [34, 2, 1, 1];
      const multipath = [30, 12, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
      const userTimeout = [28, 4, 0, 30];
      t.listen();
      t.syn({ mss: 1460, raw: Uint8Array.from([...fastOpen, ...multipath, ...userTimeout]) });
      t.send();
      t.accept();
    },
  },
  {
    name: "takes options up to one of illegal length",
    async run(t) {
      await t.accepted({ mss: 1000, raw: Uint8Array.of(1, 1, 1, 1) });
      t.send({ len: 10, options: Uint8Array.of(253, 1, 1, 1) });
      t.send({ len: 10, options: Uint8Array.of(253, 0, 1, 1) });
      t.send({ len: 10, options: Uint8Array.of(253, 40, 1, 1) });
    },
  },
  {
    name: "leaves the data of a SYN for the peer to send again",
    run(t) {
      t.listen();
      t.syn({ ...FULL, len: 100 });
      t.send({ seq: 1, len: 100 });
      t.accept();
      t.read();
    },
  },
  {
    name: "drops a SYN with FIN while it listens",
    run(t) {
      t.listen();
      t.syn({ ...FULL, flags: SYN | FIN });
    },
  },
  {
    name: "answers a SYN that comes again with the same SYN-ACK",
    async run(t) {
      t.listen();
      t.syn();
      await t.pass(100);
      t.syn();
      t.send();
      t.accept();
    },
  },
  {
    name: "sends its SYN-ACK again after 1, 2 and 4 seconds",
    async run(t) {
      t.listen();
      t.syn();
      await t.pass(7_500);
    },
  },
  {
    name: "takes data with the last ACK of the handshake",
    run(t) {
      t.listen();
      t.syn();
      t.send({ flags: ACK | PSH, len: 50 });
      t.accept();
      t.read();
    },
  },
  {
    name: "takes data and FIN with the last ACK of the handshake",
    run(t) {
      t.listen();
      t.syn();
      t.send({ flags: ACK | PSH | FIN, len: 50 });
      t.accept();
      t.read();
      t.read();
      t.state();
    },
  },
  {
    name: "resets a last ACK that acknowledges what was not sent",
    run(t) {
      t.listen();
      t.syn();
      t.send({ ack: 2 });
      t.send({ ack: 0 });
      t.send({ ack: 1 });
      t.accept();
    },
  },
  {
    name: "goes back to LISTEN for a RST in SYN-RECEIVED",
    run(t) {
      t.listen();
      t.syn(PLAIN);
      t.send({ flags: RST });
      t.accept();
      t.syn(PLAIN);
      t.send();
      t.accept();
    },
  },
  {
    name: "ignores a RST outside the window in SYN-RECEIVED",
    run(t) {
      t.listen();
      t.syn(PLAIN);
      t.send({ flags: RST, seq: -5 });
      t.send({ flags: RST, seq: 5_000_000 });
      t.send({ seq: 1 });
      t.accept();
    },
  },
  {
    name: "challenges a RST that is not exact in SYN-RECEIVED",
    run(t) {
      t.listen();
      t.syn(PLAIN);
      t.send({ flags: RST, seq: 100 });
      t.send({ seq: 1 });
      t.accept();
    },
  },
  {
    name: "stands by its SYN-ACK when another SYN comes for the same pair",
    run(t) {
      t.listen();
      t.syn(PLAIN);
      t.send({ flags: SYN, seq: 5000, options: t.synOptions(PLAIN) });
      t.send({ seq: 1 });
      t.accept();
    },
  },
  {
    name: "refuses an old timestamp in SYN-RECEIVED",
    run(t) {
      t.listen();
      t.syn();
      const stamp = t.remembered();
      t.send({ age: 500 });
      t.comment("Linux takes no echo of the timestamp that its answer bears");
      t.echo(stamp);
      t.send();
      t.accept();
    },
  },
  {
    name: "resets an ACK, a SYN-ACK and data for a listener, and drops what has no ACK",
    run(t) {
      t.listen();
      t.send({ seq: 1, ack: 10 });
      t.send({ flags: SYN | ACK, seq: 1, ack: 10 });
      t.send({ flags: ACK | PSH, seq: 1, ack: 10, len: 100 });
      t.send({ flags: ACK | FIN, seq: 1, ack: 10 });
      t.send({ flags: FIN, seq: 1 });
      t.send({ flags: 0, seq: 1, len: 10 });
      t.send({ flags: RST, seq: 1 });
      t.send({ flags: RST | ACK, seq: 1, ack: 10 });
    },
  },
  {
    name: "resets everything but a RST for a closed port",
    silent: true,
    run(t) {
      t.syn();
      t.send({ flags: SYN, seq: 0, len: 20 });
      t.send({ seq: 1, ack: 10 });
      t.send({ flags: ACK | PSH, seq: 1, ack: 10, len: 100 });
      t.send({ flags: FIN, seq: 1 });
      t.send({ flags: 0, seq: 1, len: 10 });
      t.send({ flags: RST, seq: 1 });
      t.send({ flags: RST | ACK, seq: 1, ack: 10 });
    },
  },
  {
    name: "declines ECN cleanly where it is off",
    run(t) {
      t.listen();
      t.syn({ ...FULL, flags: SYN | ECE | CWR });
      t.send();
      t.accept();
      t.send({ len: 10, flags: ACK | PSH });
    },
  },
  {
    name: "takes a SYN with PSH and URG like any other",
    run(t) {
      t.listen();
      t.syn({ ...FULL, flags: SYN | PSH | URG });
      t.send();
      t.accept();
    },
  },
  {
    name: "opens with every option",
    silent: true,
    async run(t) {
      await t.connected();
      t.write(100);
    },
  },
  {
    name: "opens to a peer without options",
    silent: true,
    async run(t) {
      await t.connected({});
      t.write(1000);
      t.send({ len: 10 });
    },
  },
  {
    name: "opens to a peer that answers with data and FIN",
    silent: true,
    run(t) {
      t.connect();
      t.syn({ ...PLAIN, flags: SYN | ACK, len: 20 });
      t.state();
      t.send({ flags: ACK | FIN, seq: 21 });
      t.read();
      t.read();
    },
  },
  {
    name: "resets a SYN-ACK that acknowledges something else, and takes the right one",
    silent: true,
    run(t) {
      t.connect();
      t.send({ flags: SYN | ACK, seq: 0, ack: 0 });
      t.send({ flags: SYN | ACK, seq: 0, ack: 2 });
      t.send({ flags: ACK, seq: 0, ack: 77 });
      t.state();
      t.syn({ ...PLAIN, flags: SYN | ACK });
      t.state();
    },
  },
  {
    name: "is refused by a RST that acknowledges its SYN, and by no other",
    silent: true,
    run(t) {
      t.connect();
      t.send({ flags: RST, seq: 0 });
      t.send({ flags: RST | ACK, seq: 0, ack: 5 });
      t.state();
      t.send({ flags: RST | ACK, seq: 0, ack: 1 });
      t.state();
      t.read();
    },
  },
  {
    name: "ignores an ACK, a FIN and data without SYN while it opens",
    silent: true,
    run(t) {
      t.connect();
      t.send({ seq: 0, ack: 1 });
      t.send({ flags: FIN, seq: 0 });
      t.send({ flags: ACK | PSH, seq: 0, ack: 1, len: 10 });
      t.state();
    },
  },
  {
    name: "opens simultaneously",
    silent: true,
    run(t) {
      t.connect();
      t.syn();
      t.state();
      t.send({ flags: SYN | ACK, seq: 0, options: t.synOptions(FULL) });
      t.state();
      t.write(10);
      t.send({ len: 10 });
    },
  },
  {
    name: "opens simultaneously to a peer that answers with a plain ACK",
    silent: true,
    run(t) {
      t.connect();
      t.syn();
      t.send();
      t.state();
    },
  },
  {
    name: "sends its SYN again",
    silent: true,
    async run(t) {
      t.connect();
      await t.pass(3_500);
      t.syn({ ...FULL, flags: SYN | ACK });
      t.state();
    },
  },
  {
    name: "gives up an open that a router says is unreachable",
    silent: true,
    run(t) {
      t.connect();
      t.icmp([3, 1], 0);
      t.state();
      t.read();
    },
  },
];
