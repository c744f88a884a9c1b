/** Which of several forwarders a client's packets go to, and what a router says about those that it is sent. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ACK, buildTcp } from "../../host/sim/packet.ts";
import { tooBig } from "../../host/sim/router.ts";
import { clientOf, steer } from "../../host/sim/steer.ts";

const steering = suite("steering to a forwarder");

const CLIENTS = 3000;

for (const [client, service] of [
  ["10.1.0.7", "10.0.0.100"],
  ["fd01::7", "fd00::100"],
] as const) {
  steering(`knows ${client} by its segments and by errors about those for it`, () => {
    const ends = { source: client, destination: service, sourcePort: 40_001, destinationPort: 80 };
    const back = { source: service, destination: client, sourcePort: 80, destinationPort: 40_001 };
    const fields = { flags: ACK, seq: 1, ack: 2, payload: new Uint8Array(1300) };
    const wanted = { address: client, port: 40_001 };
    assert.equal(clientOf(buildTcp({ ...ends, ...fields })), wanted);
    const error = tooBig(buildTcp({ ...back, ...fields }), 1280);
    assert.is(error?.to, service);
    assert.equal(clientOf(error?.bytes ?? new Uint8Array(0)), wanted);
  });
}

for (const count of [1, 2, 3]) {
  steering(`shares clients evenly among ${count}, and keeps each where it is`, () => {
    const found = Array.from({ length: count }, () => 0);
    for (let index = 0; index < CLIENTS; index++) {
      const [address, port] = [`10.1.0.${index % 200}`, 10_000 + index];
      const forwarder = steer(address, port, count);
      assert.is(steer(address, port, count), forwarder);
      found[forwarder]!++;
    }
    for (const share of found) assert.ok(share > (0.9 * CLIENTS) / count, `${found.join()}`);
  });
}

steering.run();
