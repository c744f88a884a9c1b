/**
 * Packets that overtake the blob, on real wires: the path to the backend loses and corrupts packets, so that
 * blobs are late by a retransmission while encapsulated packets of the same connection get through.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Impairment } from "../../host/lab/impair.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import {
  FAMILIES,
  withService,
  type Counters,
  type Family,
  type TestService,
} from "../support/labservice.ts";

const early = suite("early");

const CONNECTIONS = 20;
const UPLOAD = 150_000;
const BAD = { lossPercent: 15, reorderPercent: 5, duplicatePercent: 5 };

/** Uploads over a bad path to the backend; every byte must arrive. Returns what the nodes counted. */
async function upload(service: TestService, family: Family, down: Impairment) {
  const box = await service.lab.middlebox("b1", { down, seed: 42 });
  const asks = [{ host: "api.example", path: "/upload", upload: UPLOAD }];
  const sha256 = patternSha256(UPLOAD);
  for (let count = 0; count < CONNECTIONS; count++) {
    const { answers, error } = await service.visit({ family, asks });
    assert.is(error, undefined);
    const { status, backend, text } = answers[0] ?? {};
    assert.equal([status, backend], [200, "b1"]);
    const { bytes, sha256: got } = JSON.parse(text ?? "") as { bytes: number; sha256: string };
    assert.equal([bytes, got], [UPLOAD, sha256]);
  }
  const wire = (await box.close()).down;
  assert.ok(wire.lost > 0, JSON.stringify(wire));
  const counters = await service.counters();
  const backend = counters.get("b1") as Counters;
  const forwarder = counters.get("forwarder") as Counters;
  const text = JSON.stringify({ wire, backend, forwarder });
  assert.ok((backend["backend"]?.["arrived"] ?? 0) >= CONNECTIONS, text);
  assert.is(forwarder["forwarder"]?.["lost"], 0, text);
  const repeated = forwarder["transport"]?.["chunksRepeated"] ?? 0;
  assert.ok(repeated > 0, `no blob was sent again: ${text}`);
  return { wire, early: backend["core"] ?? {}, text };
}

for (const family of FAMILIES) {
  const name = `keeps packets that reach the backend before the blob, in order, over IPv${family}`;
  early(name, () =>
    withService(name, {}, async (service) => {
      const { early, text } = await upload(service, family, BAD);
      const { early_held: held = 0, early_replayed: replayed = 0 } = early;
      assert.ok(held > 0, `no packet came early: ${text}`);
      assert.is(replayed, held, text);
    }),
  );
}

const INTACT = "infuses blobs intact whose datagrams are corrupted on the way";
early(INTACT, () =>
  withService(INTACT, {}, async (service) => {
    const { wire, early, text } = await upload(service, 4, { ...BAD, corruptPercent: 10 });
    assert.ok(wire.corrupted > 0, text);
    // A flipped bit can name a flow that nobody has: such packets wait, and go back when their time is over.
    const {
      early_held: held = 0,
      early_replayed: replayed = 0,
      early_expired: expired = 0,
    } = early;
    assert.is(replayed + expired, held, text);
  }),
);

early.run();
