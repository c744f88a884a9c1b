/**
 * Exchanges of HTTP/1 between real clients and servers, damaged: what the boundary makes of each direction does not
 * depend on how its bytes are cut, and nothing throws. docs/requests.md.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HttpBoundary } from "../../host/app/boundary.ts";
import { fixtureHeads, mutator, named, SEED } from "../support/mutate.ts";

const mutants = suite("mutated exchanges");

const COUNT = 2_000;
const ANSWERS = [
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nServer: x\r\n\r\n",
  "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi",
  "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n<html>",
].map((text) => Uint8Array.from(Buffer.from(text, "latin1")));
const REQUESTS = fixtureHeads().map(([, bytes]) => bytes);

function pieces(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const ends = [...cuts, bytes.length];
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

function outcome(client: readonly Uint8Array[], server: readonly Uint8Array[]): unknown {
  const seen = new HttpBoundary();
  for (const part of client) seen.fromClient(part);
  for (const part of server) seen.fromServer(part);
  const { opaque, isIdle, requests, exchanges } = seen;
  assert.not.ok(opaque !== undefined && isIdle);
  return { opaque, isIdle, requests, exchanges };
}

mutants(`are the same however they are cut, byte by byte too (seed ${SEED})`, () => {
  const [clients, servers] = [mutator(REQUESTS), mutator(ANSWERS)];
  let opaque = 0;
  for (let turn = 0; turn < COUNT; turn++) {
    const [client, server] = [clients.next(), servers.next()];
    const whole = outcome([client], [server]);
    const what = `${named(client)} answered by ${named(server)}`;
    const cut = outcome(
      pieces(client, clients.cuts(client.length + 1)),
      pieces(server, servers.cuts(server.length + 1)),
    );
    assert.equal(cut, whole, what);
    const single = (bytes: Uint8Array): Uint8Array[] => pieces(bytes, [...bytes.keys()]);
    if (turn % 10 === 0) assert.equal(outcome(single(client), single(server)), whole, what);
    if ((whole as { opaque?: string }).opaque !== undefined) opaque++;
  }
  assert.ok(opaque > COUNT / 20 && opaque < (COUNT * 19) / 20, `${opaque} of ${COUNT} opaque`);
});

mutants.run();
