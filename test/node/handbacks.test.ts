import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Core, CoreEvent } from "../../host/core/core.ts";
import type { PacketBatch } from "../../host/core/batch.ts";
import { Handbacks } from "../../host/node/handbacks.ts";
import { PeerIndexes } from "../../host/node/indexes.ts";
import type { HandbackMessage } from "../../host/node/messages.ts";
import { ACK, SYN, buildTcp } from "../support/packet.ts";
import { SlotBatch } from "../support/slots.ts";

const handbacks = suite("handbacks");

const FORWARDER = "00000000000000aa";
const FLOW = 0x00070009;
const CLOSED = 4;
const HINT = { sndNxt: 1234, tsVal: 99 };

function opened() {
  const core = { recordTuple: () => undefined } as unknown as Core;
  const held = new Handbacks(core, new PeerIndexes([FORWARDER]));
  const give = (flags: number): void => {
    const ends = { source: "10.1.0.2", destination: "10.0.0.100" };
    const packet = buildTcp({ ...ends, sourcePort: 40_000, destinationPort: 80, flags });
    const batch = new SlotBatch(1, 2048);
    batch.memory.set(packet, batch.ptr(0));
    batch.setLen(0, packet.length);
    const meta = { peer: () => 1, flow: () => FLOW, record: () => CLOSED };
    held.add(Object.assign(batch, meta) as PacketBatch, 0);
  };
  const sent: HandbackMessage[] = [];
  const flush = (): void => held.flush((_node, message) => sent.push(message));
  const released = (): void => {
    held.released({ ownerPeer: 1, ownerFlow: FLOW, ...HINT } as CoreEvent);
  };
  return { give, flush, released, sent };
}

handbacks("gives the SYN that TIME-WAIT admitted the old connection's numbers", () => {
  const { give, flush, released, sent } = opened();
  give(SYN);
  released();
  flush();
  assert.equal(
    sent.map(({ record, hint }) => ({ record, hint })),
    [{ record: "closed", hint: HINT }],
  );
});

handbacks("gives them to a SYN that comes again too: the first one may be lost", () => {
  const { give, flush, released, sent } = opened();
  give(SYN);
  released();
  flush();
  give(SYN);
  flush();
  assert.equal(sent[1]?.hint, HINT);
});

handbacks("gives nothing of the kind to other packets", () => {
  const { give, flush, released, sent } = opened();
  give(ACK);
  released();
  flush();
  assert.is(sent[0]?.hint, undefined);
});

handbacks.run();
