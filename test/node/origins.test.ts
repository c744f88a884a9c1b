/**
 * Several forwarders of one classifier: a connection is its forwarder's whatever the others send meanwhile, a SYN
 * flood included.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SeededRandom } from "../../host/sim/random.ts";
import type { NodeId } from "../../host/transport/transport.ts";
import { ACK, RST, SYN, buildTcp } from "../support/packet.ts";
import { A, B, SERVICE, Stage, type Client } from "./classifierstage.ts";

const origins = suite("origins");

const IS_FULL = process.env["BATON_FULL"] === "1";
const GET = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
/** Packets of the flood in a turn: fewer than the stack has room to answer. */
const BATCH = 1_000;

/** SYNs of as many addresses as there are, none of which ever answers. */
function flood(stage: Stage, random: SeededRandom, count: number): void {
  for (let left = count; left > 0; left--) {
    const [bits, port] = [random.u32(), 1024 + random.below(60_000)];
    const source = `11.${bits & 255}.${(bits >>> 8) & 255}.${(bits >>> 16) & 255}`;
    const ends = { source, destination: SERVICE, sourcePort: port, destinationPort: 80 };
    stage.relay(A, buildTcp({ ...ends, flags: SYN, seq: bits }));
  }
}

/**
 * Clients of both forwarders, all the while amid a flood through A: each connects, asks, and leaves before anybody
 * grants it a flow. Whoever relayed its handshake is asked for it, and told of its end.
 */
function run(seed: number, syns: number): void {
  const stage = new Stage();
  const random = new SeededRandom(seed);
  const expected: { to: NodeId; address: string }[] = [];
  let opening: Client[] = [];
  let asking: Client[] = [];
  let clients = 0;
  for (let sent = 0; sent < syns || opening.length + asking.length > 0; sent += BATCH) {
    const early = random.below(BATCH / 2);
    flood(stage, random, early);
    for (const client of asking)
      stage.say(client, { flags: RST, seq: client.iss + 1 + GET.length });
    asking = opening;
    for (const client of asking) {
      const ack = (client.answer ?? 0) + 1;
      stage.say(client, { flags: ACK, seq: client.iss + 1, ack, payload: GET });
      expected.push({ to: client.forwarder, address: client.address });
    }
    const isLast = sent + BATCH >= syns;
    opening = isLast ? [] : [A, B].map((forwarder) => stage.client(forwarder, clients++));
    for (const client of opening) stage.say(client, { flags: SYN });
    flood(stage, random, BATCH - early);
    stage.turn();
    // The answer to a SYN may have met a full queue; its client would send it again.
    opening = opening.filter(({ answer }) => answer !== undefined);
  }
  for (let turn = 0; turn < 10; turn++) stage.turn();
  assert.equal(stage.told("reserve"), expected, `seed ${seed}`);
  assert.equal(byAddress(stage.told("release")), byAddress(expected), `seed ${seed}`);
  const { tcp_cookies_sent: cookies = 0, tcp_accepted: accepted } = stage.core.counters();
  assert.ok(cookies > syns / 2, "the flood was one");
  assert.is(accepted, expected.length);
  assert.ok(expected.length > syns / BATCH, `only ${expected.length} clients`);
  assert.is(stage.role.classifier.size, 0);
}

function byAddress(told: readonly { to: NodeId; address: string }[]): string[] {
  return told.map(({ to, address }) => `${address} ${to}`).sort();
}

const SYNS = IS_FULL ? 1_000_000 : 200_000;
origins(`a flood of ${SYNS} SYNs through one forwarder changes nothing about another's`, () => {
  run(Number(process.env["BATON_SEED"] ?? 1 + Math.floor(Math.random() * 1e9)), SYNS);
});

origins.run();
