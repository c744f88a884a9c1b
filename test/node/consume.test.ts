/**
 * Reading without a copy: what an application sees of the receive queue while it is lent pieces of it, and what
 * becomes of the rest when it throws, reads, writes or lets go meanwhile.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Connection } from "../../host/node/connection.ts";
import { pattern, upStream } from "../../host/sim/workload.ts";
import { Ferry, type Rider } from "./ferry.ts";

const consume = suite("reading without a copy");

const BYTES = 30_000;
const STEP = 3_000;

/**
 * Two connections whose application reads nothing by itself; their heads are read. `BYTES` of an upload of the first
 * wait, in several pieces: what the other one receives lies between them in memory.
 */
class Stage {
  readonly ferry: Ferry;
  readonly rider: Rider;
  readonly connection: Connection;
  readonly #other: Rider;

  constructor() {
    const taken: Connection[] = [];
    const accept = (connection: Connection): void => {
      taken.push(connection);
      connection.listen({
        readable: () => undefined,
        writable: () => undefined,
        ended: () => undefined,
        closed: () => connection.close(),
      });
    };
    this.ferry = new Ferry({
      backends: ["b1"],
      acceptor: () => ({ isServing: true, accepts: () => true, accept }),
    });
    const [rider, other] = [5, 6].map((stream) => {
      const one = this.ferry.connect();
      const before = taken.length;
      this.ferry.ask(one, stream, BYTES, 0, 0);
      this.ferry.until("an arrival", () => taken.length > before);
      return one;
    });
    this.rider = rider as Rider;
    this.#other = other as Rider;
    this.connection = taken[0] as Connection;
    for (const each of taken) each.read(new Uint8Array(each.readableLength));
    this.upload(0);
  }

  upload(from: number): void {
    for (let sent = 0; sent < BYTES;) {
      this.ferry.upload(this.#other, 6, 0, 4096);
      this.ferry.upload(this.rider, 5, from + sent, STEP);
      sent += STEP;
      this.ferry.until("these bytes", () => this.connection.readableLength === sent);
    }
  }

  /** What it should see of the upload. */
  expect(seen: readonly Uint8Array[], from: number, count: number): void {
    assert.ok(Buffer.concat(seen).equals(pattern(upStream(5), from, count)), "other bytes");
  }
}

consume("every byte is seen once and in order, and makes room for more", () => {
  const { connection, ferry, expect, upload } = bind(new Stage());
  const before = connection.bytesRead;
  for (let from = 0; from < 4 * BYTES; from += BYTES) {
    if (from > 0) upload(from);
    const first: Uint8Array[] = [];
    const rest: Uint8Array[] = [];
    assert.is(
      connection.consume(10_000, (piece) => first.push(piece.slice())),
      10_000,
    );
    assert.is(
      connection.consume(Infinity, (piece) => rest.push(piece.slice())),
      BYTES - 10_000,
    );
    expect([...first, ...rest], from, BYTES);
  }
  assert.is(connection.consume(Infinity, unexpected), 0);
  assert.is(connection.bytesRead - before, 4 * BYTES);
  ferry.check();
});

consume("bytes stay unread from the piece on at which the application threw", () => {
  const { connection, expect } = bind(new Stage());
  const seen: Uint8Array[] = [];
  const look = (piece: Uint8Array): void => {
    if (seen.length === 2) throw new Error("enough");
    seen.push(piece.slice());
  };
  assert.throws(() => connection.consume(Infinity, look), "enough");
  const done = Buffer.concat(seen).length;
  assert.ok(done > 0 && done < BYTES, `${done} of ${BYTES} bytes in two pieces`);
  assert.is(connection.readableLength, BYTES - done);
  const rest = new Uint8Array(BYTES);
  assert.is(connection.read(rest), BYTES - done);
  expect([...seen, rest.subarray(0, BYTES - done)], 0, BYTES);
});

consume("meanwhile nothing else can be read, and what is written harms no piece", () => {
  const { connection, ferry, expect } = bind(new Stage());
  const seen: Uint8Array[] = [];
  const total = connection.consume(Infinity, (piece) => {
    assert.is(connection.read(new Uint8Array(10)), 0);
    assert.is(connection.consume(Infinity, unexpected), 0);
    assert.is(connection.readableLength, BYTES, "nothing is consumed yet");
    connection.write(new Uint8Array(4096).fill(0xff));
    seen.push(piece.slice());
  });
  assert.is(total, BYTES);
  expect(seen, 0, BYTES);
  assert.is(connection.readableLength, 0);
  ferry.check();
});

for (const how of ["abort", "close"] as const) {
  consume(`${how} in the middle of it resets, and no further piece is seen`, () => {
    const { connection, ferry, rider } = bind(new Stage());
    ferry.allowReset(rider, how);
    let pieces = 0;
    const total = connection.consume(Infinity, () => {
      pieces++;
      connection[how]();
    });
    assert.is(pieces, 1);
    assert.ok(total > 0 && total < BYTES, `${total} bytes`);
    assert.is(connection.consume(Infinity, unexpected), 0);
    ferry.until("a reset", () => rider.finished !== "");
    assert.is(rider.finished, "reset");
    ferry.pass(1_000_000);
    assert.is(ferry.cluster.backend("b1").role.connections, 1, "the other one");
  });
}

function unexpected(): never {
  throw new Error("expected no piece, got one");
}

/** Methods that can be taken apart. */
function bind(stage: Stage): Pick<Stage, "connection" | "ferry" | "rider" | "expect" | "upload"> {
  const { connection, ferry, rider } = stage;
  return {
    connection,
    ferry,
    rider,
    expect: stage.expect.bind(stage),
    upload: stage.upload.bind(stage),
  };
}

consume.run();
