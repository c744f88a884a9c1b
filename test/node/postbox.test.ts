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
  const logged: string[] = [];
  const log = { write: (level: string, text: string) => void logged.push(`${level} ${text}`) };
  const box = new Postbox(SELF, transport, () => wakes++, log);
  return { box, sent, logged, wakes: () => wakes };
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
  const relay = { type: "relay", asked: 0, order: 1, isOvertaken: false, packet } as const;
  box.send(PEER, { ...relay, hint: undefined });
  box.send(PEER, { ...relay, hint: { sndNxt: 1, tsVal: 2 } });
  assert.equal(
    sent.map(({ to, reliable }) => ({ to, reliable })),
    [
      { to: PEER, reliable: true },
      { to: PEER, reliable: false },
      { to: PEER, reliable: true },
      { to: PEER, reliable: false },
      { to: PEER, reliable: true },
    ],
  );
});

postbox("counts bytes that are no message", () => {
  const { box } = opened();
  assert.is(box.open(Uint8Array.of(1, 2, 3), PEER), undefined);
  assert.equal(box.open(encodeMessage(abandon(0x00010001)), PEER), abandon(0x00010001));
  assert.is(box.counters.malformed, 1);
  assert.is(box.counters.received, 2);
});

postbox("a node of another version is refused by name, once for each format", () => {
  const { box, logged } = opened();
  const other = (format: number): Uint8Array => {
    const bytes = encodeMessage(abandon(0x00010001));
    bytes[1] = format;
    return bytes;
  };
  for (let count = 0; count < 3; count++) assert.is(box.open(other(9), PEER), undefined);
  assert.is(box.counters.foreign, 3);
  assert.is(box.counters.malformed, 0);
  assert.is(logged.length, 1);
  assert.match(
    logged[0]!,
    /^error ERR_BATON_VERSION: messages: expected format 1, got 9: no connec/,
  );
  box.open(other(8), PEER);
  assert.is(logged.length, 2, "it was exchanged for yet another one");
  assert.ok(box.open(other(1), PEER));
  box.open(other(9), PEER);
  assert.is(logged.length, 3, "and back again");
});

postbox.run();
