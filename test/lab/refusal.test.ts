/** What the forwarder answers itself, to a kernel's TCP client, over both families. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Cluster } from "../../host/lab/cluster.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import { labOrSkip } from "../support/lab.ts";
import { askRaw, type RawRequest, type RawResult } from "../support/labraw.ts";

const refusal = suite("refusal");

const HEAD_LIMIT_MS = 1_000;
const ROUTES = ["host=api.example -> b1", "sni=secure.example -> b1"];
/** Nobody listens there: no test of this file gets as far. */
const UPSTREAM = "127.0.0.1:8080";

let lab: OwnLab | undefined;
let cluster: Cluster;

refusal.before(async () => {
  lab = await labOrSkip("refusal", { needTun: true, backends: 1 });
  if (lab === undefined) return;
  const forwarderFlags = ["--timeout", `head=${HEAD_LIMIT_MS}ms`];
  cluster = new Cluster(lab, { routes: ROUTES, upstream: UPSTREAM, forwarderFlags });
  await cluster.ready();
});
refusal.after(() => lab?.close());

type Counts = Record<string, number>;
type Ask = Omit<RawRequest, "address" | "port">;

/** The same over IPv4 and IPv6. */
async function ask(request: Ask): Promise<RawResult[]> {
  if (lab === undefined) return [];
  const port = request.serverName === undefined ? 80 : 443;
  const { service4, service6 } = lab.plan;
  const requests = [service4, service6].map((address) => ({ ...request, address, port }));
  return askRaw(lab.nodes.client, requests);
}

function get(host: string, more = ""): string {
  return `GET / HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
}

/** The whole answer, and an orderly end. */
function answered(results: readonly RawResult[], status: string): void {
  const content = `${status}\n`;
  for (const { received, end } of results) {
    const [head = "", body] = received.split("\r\n\r\n");
    assert.is(head.split("\r\n")[0], `HTTP/1.1 ${status}`);
    assert.match(head, `Content-Length: ${content.length}`);
    assert.match(head, "Connection: close");
    assert.equal([body, end], [content, "fin"]);
  }
}

refusal("answers 404 where no route matches", async () => {
  answered(await ask({ parts: [get("other.example")] }), "404 Not Found");
});

refusal("answers 404 also to a request that comes byte by byte", async () => {
  const parts = [...get("other.example")];
  answered(await ask({ parts, pauseMs: 2 }), "404 Not Found");
});

refusal("answers the TLS alert unrecognized_name where no route matches", async () => {
  const results = await ask({ parts: [], serverName: "other.example" });
  for (const { end } of results) assert.match(end, /^ERR_SSL_(TLSV1_)?UNRECOGNIZED_NAME$/);
});

refusal("resets what is neither HTTP nor TLS where no route matches", async () => {
  for (const { received, end } of await ask({ parts: ["\x00\x01\x02\x03"] })) {
    assert.equal([received, end], ["", "ECONNRESET"]);
  }
});

for (const [what, head] of [
  ["a space before the colon", "GET / HTTP/1.1\r\nHost : api.example\r\n\r\n"],
  ["no Host", "GET / HTTP/1.1\r\n\r\n"],
  ["two Hosts", get("api.example", "Host: other.example\r\n")],
  ["a bare line feed", "GET / HTTP/1.1\nHost: api.example\n\n"],
  ["a folded line", get("api.example", "X: 1\r\n 2\r\n")],
] as const) {
  refusal(`answers 400 to a head with ${what}`, async () => {
    answered(await ask({ parts: [head] }), "400 Bad Request");
  });
}

refusal("answers 431 to a head that is too large, whatever still comes", async () => {
  const parts = [get("api.example", `X: ${"x".repeat(40_000)}\r\n`)];
  answered(await ask({ parts }), "431 Request Header Fields Too Large");
});

refusal("answers 414 to a request line that is too long", async () => {
  const parts = [`GET /${"x".repeat(10_000)} HTTP/1.1\r\nHost: api.example\r\n\r\n`];
  answered(await ask({ parts }), "414 URI Too Long");
});

refusal("answers 408 to a head that does not come in time", async () => {
  const parts = ["GET / HTTP/1.1\r\n", "Host: api.example\r\n", "X: 1\r\n", "Y: 2\r\n"];
  const results = await ask({ parts, pauseMs: HEAD_LIMIT_MS / 3 });
  answered(results, "408 Request Timeout");
  for (const { ms } of results) {
    assert.ok(ms > HEAD_LIMIT_MS * 0.9 && ms < HEAD_LIMIT_MS * 5, `after ${ms} ms`);
  }
});

refusal(
  "ends a ClientHello that does not come in time, and a client that says nothing",
  async () => {
    const results = [
      ...(await ask({ parts: ["\x16\x03\x01\x02\x00"] })),
      ...(await ask({ parts: [] })),
    ];
    for (const { end, ms, received } of results) {
      assert.equal([received, end], ["", "fin"]);
      assert.ok(ms > HEAD_LIMIT_MS * 0.9 && ms < HEAD_LIMIT_MS * 5, `after ${ms} ms`);
    }
  },
);

refusal("answers 503, an alert, or a reset while no backend is usable", async () => {
  if (lab === undefined) return;
  assert.is(await cluster.backends.get("b1")?.stop(), "exit status 0");
  // Suspect after three heartbeats, dead after 5 s: both are no use for new connections.
  let http = await ask({ parts: [get("api.example")] });
  const deadline = Date.now() + 15_000;
  while (!http.every(({ received }) => received.includes(" 503 ")) && Date.now() < deadline) {
    http = await ask({ parts: [get("api.example")] });
  }
  answered(http, "503 Service Unavailable");
  for (const { end } of await ask({ parts: [], serverName: "secure.example" })) {
    assert.match(end, /^ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR$/);
  }
});

refusal("reports each refusal with its reason, and counts it", async () => {
  if (lab === undefined) return;
  const { forwarder } = cluster;
  assert.is(await forwarder.stop(), "exit status 0");
  assert.is(forwarder.stderr.match(/internal error|TRAP|\n {4}at /), null);
  const failures = forwarder.events
    .filter(({ event }) => event === "connection")
    .map(({ failure }) => String(failure));
  for (const reason of [
    /^no rule matches/,
    /^400: /,
    /^431: /,
    /^414: /,
    /^408: /,
    /^no backend/,
  ]) {
    assert.ok(failures.filter((text) => reason.test(text)).length >= 2, String(reason));
  }
  const counters = forwarder.events.find(({ event }) => event === "counters");
  const { rejected = 0, expired = 0, left = 0 } = counters?.["classifier"] as Counts;
  const { lost = 0 } = counters?.["forwarder"] as Counts;
  assert.is(rejected + left + lost, failures.length, JSON.stringify(failures));
  assert.ok(expired >= 6);
});

refusal.run();
