import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeMessage } from "../../host/node/codec.ts";
import type { Message } from "../../host/node/messages.ts";
import { Postbox } from "../../host/node/postbox.ts";
import type { Transport } from "../../host/transport/transport.ts";

const postbox = suite("postbox");

const SELF = "00000000000000aa";
const PEER = "00000000000000bb";

function opened() {
  const sent: { to: string; reliable: boolean; bytes: Uint8Array }[] = [];
  const transport = {
    epoch: "ee".repeat(16),
    send: (to: string, bytes: Uint8Array) => sent.push({ to, reliable: true, bytes }),
    sendUnreliable: (to: string, bytes: Uint8Array) => sent.push({ to, reliable: false, bytes }),
  } as unknown as Transport;
  let wakes = 0;
  const box = new Postbox(SELF, transport, () => wakes++);
  return { box, sent, wakes: () => wakes };
}

const abandon = (flow: number): Message => ({ type: "abandon", flow });

postbox(
  "delivers to the node itself later, in order, with outcomes, and what that causes too",
  () => {
    const { box, sent, wakes } = opened();
    const log: string[] = [];
    box.send(SELF, abandon(0x00010001), { onOutcome: (outcome) => log.push(outcome) });
    box.send(SELF, abandon(0x00010002));
    assert.equal(log, [], "nothing happens within send");
    assert.ok(wakes() > 0);
    box.deliver((node, epoch, message) => {
      assert.is(node, SELF);
      assert.is(epoch, "ee".repeat(16));
      if (message.type !== "abandon") return;
      log.push(String(message.flow));
      if (message.flow === 0x00010001) box.send(SELF, abandon(0x00010003));
    });
    assert.equal(log, ["65537", "delivered", "65538", "65539"]);
    assert.not.ok(box.isWaiting);
    assert.is(sent.length, 0);
  },
);

postbox("sends reliably what must arrive, and the rest as it comes", () => {
  const { box, sent } = opened();
  box.send(PEER, abandon(0x00010001));
  const packet = new Uint8Array(40);
  box.send(PEER, {
    type: "handback",
    flow: 0x00010001,
    record: "none",
    tuple: undefined,
    hint: undefined,
    packet,
  });
  box.send(PEER, {
    type: "handback",
    flow: 0x00010001,
    record: "closed",
    tuple: undefined,
    hint: { sndNxt: 1, tsVal: 2 },
    packet,
  });
  assert.equal(
    sent.map(({ to, reliable }) => ({ to, reliable })),
    [
      { to: PEER, reliable: true },
      { to: PEER, reliable: false },
      { to: PEER, reliable: true },
    ],
  );
});

postbox("counts bytes that are no message", () => {
  const { box } = opened();
  assert.is(box.open(Uint8Array.of(1, 2, 3)), undefined);
  assert.equal(box.open(encodeMessage(abandon(0x00010001))), abandon(0x00010001));
  assert.is(box.counters.malformed, 1);
  assert.is(box.counters.received, 2);
});

postbox.run();
