import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatTuple } from "../../host/core/tuple.ts";
import { isSyn, quotedTuple, wirePacket } from "../../host/node/packet.ts";
import { SlotBatch } from "../support/slots.ts";
import { ACK, SYN, buildIcmp, buildTcp, parseTcp } from "../support/packet.ts";

const packet = suite("packet");

const NEEDS_CSUM = 1;
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
      const finished = wirePacket(batch, 0);
      assert.ok(finished);
      assert.ok(parseTcp(finished).tcpChecksumOk, `${source} ${len}`);
      batch.setOffload(0, 0, 0, 0, 0, 0, 0);
      assert.equal(wirePacket(batch, 0), partial, "left as it is without the flag");
    }
  }
});

packet("makes no single packet of a super-packet, nor of offsets beyond its end", () => {
  const batch = new SlotBatch(1, 2048);
  batch.setLen(0, 100);
  batch.setOffload(0, NEEDS_CSUM, 20, 16, 1, 1448, 52);
  assert.is(wirePacket(batch, 0), undefined);
  batch.setOffload(0, NEEDS_CSUM, 90, 16, 0, 0, 0);
  assert.is(wirePacket(batch, 0), undefined);
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
