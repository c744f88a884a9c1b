import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatTuple } from "../../host/core/tuple.ts";
import { clientTuple, isSyn, quotedTuple, wirePackets } from "../../host/node/packet.ts";
import { SlotBatch } from "../support/slots.ts";
import { ACK, FIN, PSH, SYN, buildIcmp, buildTcp, parseTcp } from "../support/packet.ts";

const packet = suite("packet");

const NEEDS_CSUM = 1;
const CWR = 128;
const FAMILIES = [
  { source: "10.1.0.2", destination: "10.0.0.100", ipLen: 20 },
  { source: "fd01::2", destination: "fd00::100", ipLen: 40 },
] as const;
const ports = { sourcePort: 40_000, destinationPort: 80 };

packet("finishes a checksum that was left to a device, for every length", () => {
  for (const { source, destination, ipLen } of FAMILIES) {
    for (const len of [0, 1, 2, 3, 536, 1399]) {
      const payload = new Uint8Array(len).fill(0xa5);
      const partial = buildTcp({ source, destination, ...ports, payload, partialChecksum: true });
      const batch = new SlotBatch(1, 2048);
      batch.memory.set(partial, batch.ptr(0));
      batch.setLen(0, partial.length);
      batch.setOffload(0, NEEDS_CSUM, ipLen, 16, 0, 0, 0);
      const [finished] = wirePackets(batch, 0);
      assert.ok(finished);
      assert.ok(parseTcp(finished).tcpChecksumOk, `${source} ${len}`);
      batch.setOffload(0, 0, 0, 0, 0, 0, 0);
      assert.equal(wirePackets(batch, 0), [partial], "left as it is without the flag");
    }
  }
});

packet("cuts a super-packet into what a device would have sent", () => {
  for (const { source, destination, ipLen } of FAMILIES) {
    for (const [len, size] of [
      [4000, 1448],
      [4344, 1448],
      [1448, 1448],
      [65_000, 536],
      [3, 1],
    ] as const) {
      const payload = Uint8Array.from({ length: len }, (_, index) => index % 251);
      const fields = { seq: 0xffff_fff0, ack: 77, flags: CWR | ACK | PSH | FIN };
      const options = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8);
      const ends = { source, destination, ...ports };
      const whole = buildTcp({ ...ends, ...fields, options, payload, partialChecksum: true });
      const batch = new SlotBatch(1, 65_536 + 128);
      batch.memory.set(whole, batch.ptr(0));
      batch.setLen(0, whole.length);
      batch.setOffload(0, NEEDS_CSUM, ipLen, 16, ipLen === 20 ? 1 : 4, size, ipLen + 32);
      const parts = wirePackets(batch, 0).map((bytes) => parseTcp(bytes));
      const name = `${source} ${len} in ${size}`;
      assert.is(parts.length, Math.ceil(len / size), name);
      assert.equal(Buffer.concat(parts.map((part) => part.payload)), Buffer.from(payload), name);
      parts.forEach((part, index) => {
        assert.ok(part.tcpChecksumOk && part.ipChecksumOk, `${name}: segment ${index}`);
        assert.is(part.seq, (fields.seq + index * size) % 2 ** 32, name);
        assert.is(part.ack, 77);
        assert.equal(part.options, parseTcp(whole).options);
        const isLast = index === parts.length - 1;
        const flags = ACK | (index === 0 ? CWR : 0) | (isLast ? PSH | FIN : 0);
        assert.is(part.flags, flags, name);
      });
      assert.is(
        formatTuple(clientTuple(whole)),
        formatTuple(clientTuple(wirePackets(batch, 0)[0]!)),
      );
    }
  }
});

packet("makes nothing of offload fields that cannot be", () => {
  const batch = new SlotBatch(1, 2048);
  batch.setLen(0, 100);
  batch.setOffload(0, NEEDS_CSUM, 20, 16, 1, 1448, 52);
  assert.equal(wirePackets(batch, 0), []);
  batch.setOffload(0, NEEDS_CSUM, 90, 16, 0, 0, 0);
  assert.equal(wirePackets(batch, 0), []);
});

packet("finds the connection of a client's packet, behind extension headers too", () => {
  for (const { source, destination } of FAMILIES) {
    const bytes = buildTcp({ source, destination, ...ports });
    const shown = `${formatTuple(clientTuple(bytes))}`;
    assert.match(shown, String(ports.sourcePort));
    assert.match(shown, source);
    if (!source.includes(":")) continue;
    const extended = new Uint8Array(bytes.length + 8);
    extended.set(bytes.subarray(0, 40));
    extended.set(bytes.subarray(40), 48);
    extended[40] = extended[6]!; // an empty destination options header
    extended[6] = 60;
    assert.is(formatTuple(clientTuple(extended)), shown);
  }
});

packet("tells a first SYN from everything else", () => {
  for (const { source, destination } of FAMILIES) {
    const withFlags = (flags: number) => buildTcp({ source, destination, ...ports, flags });
    assert.ok(isSyn(withFlags(SYN)));
    assert.not.ok(isSyn(withFlags(SYN | ACK)));
    assert.not.ok(isSyn(withFlags(ACK)));
  }
  assert.not.ok(isSyn(new Uint8Array(0)));
});

packet("finds the connection that an ICMP error quotes, from the service's side", () => {
  for (const { source: client, destination: service } of FAMILIES) {
    const answer = buildTcp({
      source: service,
      destination: client,
      sourcePort: 80,
      destinationPort: 40_000,
    });
    const type = client.includes(":") ? 2 : 3;
    const error = buildIcmp({ source: client, destination: service, type, body: answer });
    const tuple = quotedTuple(error);
    assert.ok(tuple);
    const shown = client.includes(":")
      ? `[${client}]:40000 -> [${service}]:80`
      : `${client}:40000 -> ${service}:80`;
    assert.is(formatTuple(tuple), shown);
    for (let len = 0; len < error.length; len++) quotedTuple(error.subarray(0, len)); // never throws
  }
});

packet.run();
