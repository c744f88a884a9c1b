/**
 * Acceptance: a request reaches the backend that its first bytes name, and everything after it too. The
 * client is the kernel's TCP; the servers behind the backends are Node's.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { TLS_NAME } from "../../host/lab/scenario.ts";
import type { Answer, VisitResult } from "../../host/lab/visitor.ts";
import { FAMILIES, IS_FULL, MIB, shareService, type TestService } from "../support/labservice.ts";

const BULK = IS_FULL ? 1024 * MIB : 64 * MIB;
const requests = suite("requests through the lab");
const shared = shareService(requests, "requests");

/** The answers, all well, and the one decision that the forwarder took for their connection. */
function expectOnly(service: TestService, result: VisitResult, backend: string, rule: string) {
  assert.is(result.error, undefined);
  for (const answer of result.answers) {
    assert.equal([answer.status, answer.backend], [200, backend]);
  }
  const decisions = service.decisions(result.client);
  const facts = decisions.map(({ backend: to, rule: by, failure }) => [to, by, failure]);
  assert.equal(facts, [[backend, rule, undefined]], "one decision for the connection");
  return decisions[0];
}

function bodyOf(answer: Answer | undefined): Record<string, unknown> {
  return JSON.parse(answer?.text ?? "") as Record<string, unknown>;
}

for (const family of FAMILIES) {
  requests(
    `IPv${family}: the Host of a request decides the backend`,
    shared(async (service) => {
      for (const [host, backend, rule] of [
        ["api.example", "b1", "host=api.example"],
        ["shop.example", "b1", "host=shop.example"],
      ] as const) {
        const result = await service.visit({ family, asks: [{ host, path: "/" }] });
        expectOnly(service, result, backend, rule);
        const { host: seen, path } = bodyOf(result.answers[0]);
        assert.equal([seen, path], [host, "/"], "the server read what the client sent");
      }
    }),
  );

  requests(
    `IPv${family}: the path of a request decides the backend`,
    shared(async (service) => {
      const host = "shop.example";
      const file = await service.visit({ family, asks: [{ host, path: "/static/app.js" }] });
      expectOnly(service, file, "b2", "host=shop.example path=/static/*");
      const cart = await service.visit({ family, asks: [{ host, path: "/cart" }] });
      expectOnly(service, cart, "b1", "host=shop.example");
    }),
  );

  requests(
    `IPv${family}: the SNI of a ClientHello decides, the backend holds the key`,
    shared(async (service) => {
      const asks = [{ host: TLS_NAME, path: "/account" }];
      const result = await service.visit({ family, tls: true, asks });
      const decision = expectOnly(service, result, "b2", `sni=${TLS_NAME}`);
      const { encrypted, path } = bodyOf(result.answers[0]);
      assert.equal([encrypted, path], [true, "/account"], "TLS ends at the server");
      const seen = JSON.stringify(decision);
      assert.not.match(seen, /account/, "the forwarder cannot read the request");
    }),
  );

  requests(
    `IPv${family}: a kept-alive connection is decided once, also for another host`,
    shared(async (service) => {
      const paths = ["/1", "/2", "/3", "/4"];
      const asks = [
        ...paths.map((path) => ({ host: "api.example", path })),
        { host: "shop.example", path: "/static/late.js" },
      ];
      const result = await service.visit({ family, asks });
      expectOnly(service, result, "b1", "host=api.example");
      const heard = result.answers.map((answer) => bodyOf(answer)["path"]);
      assert.equal(heard, [...paths, "/static/late.js"]);
      assert.is(bodyOf(result.answers.at(-1))["host"], "shop.example");
    }),
  );

  requests(
    `IPv${family}: ${BULK / MIB} MiB come down with the SHA-256 they were sent with`,
    shared(async (service) => {
      const asks = [{ host: "api.example", path: `/bytes/${BULK}` }];
      const result = await service.visit({ family, asks });
      expectOnly(service, result, "b1", "host=api.example");
      assert.is(result.answers[0]?.bytes, BULK);
      assert.is(result.answers[0]?.sha256, patternSha256(BULK));
    }),
  );

  requests(
    `IPv${family}: ${BULK / MIB} MiB go up with the SHA-256 they were sent with`,
    shared(async (service) => {
      const asks = [{ host: "shop.example", path: "/static/upload", upload: BULK }];
      const result = await service.visit({ family, asks });
      expectOnly(service, result, "b2", "host=shop.example path=/static/*");
      const { bytes, sha256 } = bodyOf(result.answers[0]);
      assert.equal([bytes, sha256], [BULK, patternSha256(BULK)]);
    }),
  );
}

requests(
  "nothing was reset, refused or lost on the way",
  shared(async (service) => {
    const counters = await service.counters();
    for (const [name, { core = {}, link = {} }] of counters) {
      assert.equal(nonZero(link, /Malformed|Truncated|Errors|Refused|Down/), {}, `${name}: link`);
      assert.equal(nonZero(core, /[Rr]eset|RST|malformed|checksum/), {}, `${name}: core`);
    }
    assert.is(counters.get("forwarder")?.["forwarder"]?.["lost"], 0);
  }),
);

function nonZero(group: Readonly<Record<string, number>>, names: RegExp): Record<string, number> {
  const entries = Object.entries(group).filter(([name, count]) => names.test(name) && count > 0);
  return Object.fromEntries(entries);
}

requests.run();
