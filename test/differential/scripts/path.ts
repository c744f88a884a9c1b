/** What routers say, and the other family: RFC 1191, 8201, 5927, 8200. */
import { ACK, FIN, PSH, RST } from "../../support/packet.ts";
import type { Script } from "../script.ts";
import { FULL, PLAIN } from "../talk.ts";

const RTT = 20;
const FRAGMENTATION_NEEDED = [3, 4] as const;
const PORT_UNREACHABLE = [3, 3] as const;
const HOST_UNREACHABLE = [3, 1] as const;
const PACKET_TOO_BIG = [2, 0] as const;

export const path: readonly Script[] = [
  {
    name: "sends smaller segments when a router needs them to be",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(2920);
      t.icmp(FRAGMENTATION_NEEDED, 1, 1000);
      await t.pass(RTT);
      t.send({ ack: 2921 });
      t.write(2000);
    },
  },
  {
    name: "takes no smaller path MTU from an ICMP about what is not in flight",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(2920);
      t.icmp(FRAGMENTATION_NEEDED, 500_000, 1000);
      t.icmp(FRAGMENTATION_NEEDED, -500_000, 1000);
      t.send({ ack: 2921 });
      t.write(2920);
    },
  },
  {
    name: "takes no path MTU below a floor",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(1460);
      t.icmp(FRAGMENTATION_NEEDED, 1, 68);
      await t.pass(RTT);
      t.send({ ack: 1461 });
      t.write(1100);
    },
  },
  {
    name: "lives through unreachable messages once it is established",
    async run(t) {
      await t.accepted(PLAIN, RTT);
      t.write(100);
      t.icmp(PORT_UNREACHABLE, 1);
      t.icmp(HOST_UNREACHABLE, 1);
      t.state();
      t.send({ ack: 101 });
      t.write(100);
    },
  },
  {
    name: "opens, talks and closes over IPv6",
    family: 6,
    async run(t) {
      await t.accepted({ ...FULL, mss: 1440 }, RTT);
      t.send({ flags: ACK | PSH, len: 100 });
      t.read();
      t.write(3000);
      await t.pass(RTT);
      t.send({ ack: 3001 });
      t.send({ flags: ACK | FIN, ack: 3001 });
      t.read();
      t.close();
      t.send({ ack: 3002 });
    },
  },
  {
    name: "sends 1,220 bytes to a peer that offers no MSS over IPv6",
    family: 6,
    async run(t) {
      await t.accepted({}, RTT);
      t.write(2440);
    },
  },
  {
    name: "guards a connection over IPv6 as well",
    family: 6,
    async run(t) {
      await t.accepted(FULL, RTT);
      t.send({ flags: RST, seq: 100 });
      t.send({ seq: 101, len: 100 });
      t.send({ seq: 1, len: 100 });
      t.send({ seq: 1, len: 100 });
      t.send({ flags: RST, seq: 201 });
      t.state();
    },
  },
  {
    name: "sends smaller segments when a packet is too big for IPv6",
    family: 6,
    async run(t) {
      await t.accepted({ mss: 1440 }, RTT);
      t.write(2880);
      t.icmp(PACKET_TOO_BIG, 1, 1300);
      await t.pass(RTT);
      t.send({ ack: 2881 });
      t.write(2000);
    },
  },
  {
    name: "repairs a loss over IPv6",
    family: 6,
    async run(t) {
      await t.accepted({ ...FULL, mss: 1440 }, RTT);
      t.write(14_280);
      await t.pass(RTT);
      t.send({ ack: 1, sack: [[1429, 7141]] });
      await t.pass(RTT);
      t.send({ ack: 14_281 });
    },
  },
];
