import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Decision, RequestHead, RouteContext } from "../../host/routing/route.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";
import { textOf } from "./support.ts";

const router = suite("router");

const BACKENDS = ["b1", "b2", "b3", "b4"];

function route(...routes: string[]) {
  return createRouter(parseRouting({ backends: BACKENDS, pools: ["pair=b1,b2"], routes }));
}

function context(change: Partial<RouteContext> = {}): RouteContext {
  return {
    clientAddress: "192.0.2.1",
    usable: () => true,
    mayReturn: () => false,
    load: () => 0,
    ...change,
  };
}

function httpHead(host: string, path: string, method = "GET"): RequestHead {
  return { protocol: "http", method, host, path };
}

function tlsHead(serverName: string, ...alpn: string[]): RequestHead {
  return { protocol: "tls", serverName, alpn };
}

function chosen(decision: Decision): string {
  return decision.kind === "backend" ? decision.candidates.join() : "reject";
}

router("takes the first rule that matches, in the order they are written", () => {
  const routes = route(
    "host=api.example path=/v1/*,/status -> b1",
    "host=api.example -> b2",
    "host=*.example -> b3",
    "protocol=http -> b4",
  );
  const at = (host: string, path: string) => chosen(routes.decide(httpHead(host, path), context()));
  assert.is(at("api.example", "/v1/x"), "b1");
  assert.is(at("api.example", "/v1/"), "b1");
  assert.is(at("api.example", "/status"), "b1");
  assert.is(at("api.example", "/v1"), "b2");
  assert.is(at("api.example", "/v10/x"), "b2");
  assert.is(at("api.example", "/status/"), "b2");
  assert.is(at("api.example", "/V1/x"), "b2");
  assert.is(at("x.example", "/v1/x"), "b3");
  assert.is(at("x.y.example", "/"), "b3");
  assert.is(at("example", "/"), "b4");
  assert.is(at("xexample", "/"), "b4");
  assert.is(at("", "/"), "b4");
  assert.is(chosen(routes.decide(tlsHead("api.example"), context())), "reject");
});

router("tells the rule that decided", () => {
  const decision = route("host=a  path=/* -> b1").decide(httpHead("a", "/x"), context());
  const choice = { candidates: ["b1"], rule: "host=a path=/*", pool: "b1" };
  assert.equal(decision, { kind: "backend", ...choice });
});

router("names the pool of a connection, and chooses in it again by its policy", () => {
  const routes = route("host=a -> pair", "host=b -> b1,b2", "host=c -> b2,b1", "default -> pair");
  const poolOf = (host: string): string => {
    const decision = routes.decide(httpHead(host, "/"), context());
    return decision.kind === "backend" ? decision.pool : "none";
  };
  assert.equal(["a", "b", "c", "d"].map(poolOf), ["pair", "b1,b2", "b2,b1", "pair"]);
  assert.equal(routes.pools, ["pair", "b1,b2", "b2,b1"]);
  const usable = (name: string): boolean => name !== "b2";
  assert.equal(routes.candidates("pair", context({ usable })), ["b1"]);
  assert.is(routes.candidates("b1", context()), undefined, "a backend is no pool");
  const turns = [1, 2].map(() => routes.candidates("b1,b2", context())?.[0]);
  assert.equal([...turns].sort(), ["b1", "b2"]);
});

router("chooses by server name and ALPN", () => {
  const routes = route("sni=api.example alpn=h2,h3 -> b1", "sni=*.example -> b2", "alpn=x -> b3");
  const at = (...head: Parameters<typeof tlsHead>) =>
    chosen(routes.decide(tlsHead(...head), context()));
  assert.is(at("api.example", "http/1.1", "h2"), "b1");
  assert.is(at("api.example", "http/1.1"), "b2");
  assert.is(at("", "x"), "b3");
  assert.is(at("", "h2"), "reject");
});

router("chooses by protocol alone, and by default", () => {
  const routes = route("protocol=other -> b1", "default -> b2");
  assert.is(chosen(routes.decide({ protocol: "other" }, context())), "b1");
  assert.is(chosen(routes.decide(tlsHead(""), context())), "b2");
  assert.is(chosen(routes.decide(httpHead("", "*"), context())), "b2");
});

router("answers what no rule matches in the client's protocol", () => {
  const routes = route("host=a -> b1");
  const http = routes.decide(httpHead("b", "/"), context());
  if (http.kind !== "reject") throw new Error("not refused");
  assert.match(textOf(http.reply), /^HTTP\/1\.1 404 Not Found\r\n/);
  assert.is(http.reset, false);
  const tls = routes.decide(tlsHead("b"), context());
  if (tls.kind !== "reject") throw new Error("not refused");
  assert.equal([...tls.reply], [21, 3, 3, 0, 2, 2, 112]);
  const other = routes.decide({ protocol: "other" }, context());
  if (other.kind !== "reject") throw new Error("not refused");
  assert.is(other.reset, true);
  assert.is(other.reply.length, 0);
});

router("answers 503, an alert or a reset where no backend is usable", () => {
  const routes = route("default -> pair");
  const none = context({ usable: () => false });
  const http = routes.decide(httpHead("b", "/"), none);
  if (http.kind !== "reject") throw new Error("not refused");
  assert.match(textOf(http.reply), /^HTTP\/1\.1 503 /);
  assert.match(http.reason, 'no backend of "default" is usable');
  const tls = routes.decide(tlsHead("b"), none);
  assert.equal(tls.kind === "reject" && [...tls.reply], [21, 3, 3, 0, 2, 2, 80]);
  assert.is(routes.unavailable({ protocol: "other" }).reset, true);
  const head = routes.unavailable(httpHead("b", "/", "HEAD"));
  assert.ok(textOf(head.reply).endsWith("\r\n\r\n"), "no content for HEAD");
});

router("waits where a backend may be back in a moment", () => {
  const routes = route("host=a -> b1", "default -> pair");
  const silent = context({ usable: () => false, mayReturn: (name) => name === "b2" });
  const waits = routes.decide(httpHead("b", "/"), silent);
  assert.equal(waits, { kind: "wait", reason: 'no backend of "default" is usable' });
  assert.is(routes.decide(httpHead("a", "/"), silent).kind, "reject", "b2 does not help host a");
});

router("does not fall through to a later rule when the pool of the first is down", () => {
  const routes = route("host=a -> b1", "default -> b2");
  const decision = routes.decide(httpHead("a", "/"), context({ usable: (name) => name !== "b1" }));
  assert.is(decision.kind, "reject");
});

router("shares a named pool's turns between rules", () => {
  const routes = route("host=a -> pair", "host=b -> pair", "host=c -> b1,b2");
  const at = (host: string) => chosen(routes.decide(httpHead(host, "/"), context()));
  assert.equal([at("a"), at("b"), at("a"), at("c")], ["b1,b2", "b2,b1", "b1,b2", "b1,b2"]);
});

router.run();
