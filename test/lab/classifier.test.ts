/** Two classifiers on nodes of their own: requests go through both, and one that dies takes little along. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { askRaw } from "../support/labraw.ts";
import { FAMILIES, withService, type TestService } from "../support/labservice.ts";
import { until } from "../support/lab.ts";

const classifier = suite("classifier");

const NODES = ["c1", "c2"] as const;
const HALF_READ = 24;
const DOWNLOAD = 2 << 20;
/** A client sends the rest of its request after the classifier's death, before a time limit of its head. */
const PAUSE_MS = 3_000;
const MIB_UPLOAD = 1 << 20;
const LIMIT_MS = 20_000;

const decidedAt = (service: TestService, name: string): number => {
  const events = service.cluster.classifiers.get(name)?.events ?? [];
  return events.filter(({ event, flow }) => event === "connection" && Number(flow) > 0).length;
};

const BOTH = "reads requests on two nodes of their own, over both families";
classifier(BOTH, () =>
  withService(BOTH, { more: NODES }, async (service) => {
    for (const family of FAMILIES) {
      for (let count = 0; count < 8; count++) {
        const asks = [{ host: "api.example", path: "/upload", upload: MIB_UPLOAD }];
        const { answers, error } = await service.visit({ family, asks });
        assert.is(error, undefined);
        const { status, backend, text } = answers[0] ?? {};
        assert.equal([status, backend], [200, "b1"]);
        const got = JSON.parse(text ?? "") as { bytes: number; sha256: string };
        assert.equal([got.bytes, got.sha256], [MIB_UPLOAD, patternSha256(MIB_UPLOAD)]);
      }
    }
    for (const name of NODES) assert.ok(decidedAt(service, name) > 0, `${name} decided nothing`);
    const counters = await service.counters();
    const text = JSON.stringify([...counters]);
    assert.is(counters.get("forwarder")?.["classifier"]?.["accepted"], 0, text);
    assert.is(counters.get("forwarder")?.["relay"]?.["refused"], 0, text);
    for (const name of NODES) assert.is(counters.get(name)?.["dispatch"]?.["lost"], 0, text);
  }),
);

const KILLED = "loses nothing but half-read connections when a classifier is killed";
classifier(KILLED, () =>
  withService(KILLED, { more: NODES }, async (service) => {
    const { lab, cluster } = service;
    const ask = { address: lab.plan.service4, port: 80 };
    const rest = `xample\r\nConnection: close\r\n\r\n`;
    const parts = [`GET /bytes/10 HTTP/1.1\r\nHost: api.e`, rest];
    const half = Array.from({ length: HALF_READ }, () => ({ ...ask, parts, pauseMs: PAUSE_MS }));
    // What was handed over before: one download that lasts, through either classifier.
    const path = `/bytes/${DOWNLOAD}/within/6`;
    const long = [1, 2, 3, 4].map(() =>
      service.visit({ family: 4, asks: [{ host: "api.example", path }] }),
    );
    const before = decidedAt(service, "c1") + decidedAt(service, "c2");
    await until("the downloads are handed over", LIMIT_MS, () => {
      return decidedAt(service, "c1") + decidedAt(service, "c2") >= before + long.length;
    });
    const halves = new Set<number>();
    const capture = await lab.capture("client", ({ direction, sourcePort, tcp }) => {
      if (direction === "out" && tcp?.payloadLen === parts[0]?.length) halves.add(sourcePort);
    });
    const asked = askRaw(lab.nodes.client, half, "at once");
    await until("every first half is sent", LIMIT_MS, () => halves.size === HALF_READ);
    cluster.classifiers.get("c1")?.child.kill("SIGKILL");
    const results = await asked;
    await capture.stop();
    const ends = { c1: 0, c2: 0 };
    for (const { received, end, localPort } of results) {
      const owner = service.classifierOf(localPort, NODES) as "c1" | "c2";
      ends[owner]++;
      if (owner === "c1") assert.equal([received, end], ["", "ECONNRESET"], `port ${localPort}`);
      else assert.match(received, /^HTTP\/1\.1 200 /, `port ${localPort}: ${end}`);
    }
    assert.ok(ends.c1 > 0 && ends.c2 > 0, JSON.stringify(ends));
    for (const { answers, error } of await Promise.all(long)) {
      assert.is(error, undefined);
      assert.equal([answers[0]?.status, answers[0]?.bytes], [200, DOWNLOAD]);
    }
    // Everybody after it goes through the one that is left.
    const { answers, error } = await service.visit({
      family: 4,
      asks: [{ host: "api.example", path: "/bytes/10" }],
    });
    assert.equal([error, answers[0]?.status], [undefined, 200]);
    // It comes back, and has its share again.
    cluster.startClassifier("c1");
    await cluster.classifiers.get("c1")?.ready;
    for (let count = 0; count < 40 && decidedAt(service, "c1") === 0; count++) {
      await service.visit({ family: 4, asks: [{ host: "api.example", path: "/bytes/10" }] });
    }
    assert.ok(decidedAt(service, "c1") > 0, "c1 reads requests again");
  }),
);

classifier.run();
