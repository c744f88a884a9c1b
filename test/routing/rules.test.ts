import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { parseRouting } from "../../host/routing/router.ts";
import { RuleError } from "../../host/routing/rules.ts";

const rules = suite("rules");

const BACKENDS = ["b1", "b2", "b3"];
const POOLS = ["api=b1,b2 policy=least-connections", "web=b3"];

function parse(routes: readonly string[], pools: readonly string[] = POOLS) {
  return parseRouting({ backends: BACKENDS, pools, routes });
}

function parseOne(route: string) {
  const [rule] = parse([route]);
  if (!rule) throw new Error("no rule");
  return rule;
}

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof RuleError) return error.message;
    throw error;
  }
  throw new Error("no error");
}

rules("reads conditions, backends and a policy", () => {
  assert.equal(parseOne(" host=API.Example.,*.b.example  path=/v1/* -> b1,b2  policy=hash "), {
    text: "host=API.Example.,*.b.example path=/v1/*",
    protocol: "http",
    host: ["api.example", "*.b.example"],
    path: ["/v1/*"],
    sni: [],
    alpn: [],
    pool: { backends: ["b1", "b2"], policy: "hash" },
    poolName: undefined,
  });
});

rules("take round-robin where no policy stands, and a pool's own where it is named", () => {
  assert.equal(parseOne("default -> b1").pool, { backends: ["b1"], policy: "round-robin" });
  const named = parseOne("sni=a -> api");
  assert.equal(named.pool, { backends: ["b1", "b2"], policy: "least-connections" });
  assert.is(named.poolName, "api");
});

rules("know the protocol from the conditions", () => {
  assert.is(parseOne("default -> b1").protocol, undefined);
  assert.is(parseOne("host=a -> b1").protocol, "http");
  assert.is(parseOne("path=/ -> b1").protocol, "http");
  assert.is(parseOne("sni=a alpn=h2 -> b1").protocol, "tls");
  assert.is(parseOne("protocol=tls alpn=h2,http/1.1 -> b1").protocol, "tls");
  assert.is(parseOne("protocol=other -> b1").protocol, "other");
});

rules("take an IPv6 literal as host", () => {
  assert.equal(parseOne("host=[FD00::1] -> b1").host, ["[fd00::1]"]);
});

/** Row: text, message. */
const ERRORS: readonly (readonly [string, string])[] = [
  ["", 'column 1: expected "->", got the end of the rule'],
  ["host=a", 'column 7: expected "->", got the end of the rule'],
  ["host=a->b1", 'column 11: expected "->", got the end of the rule'],
  ["-> b1", 'column 1: expected a condition or "default", got "->"'],
  ["host=a ->", "column 10: expected a pool or backends, got the end"],
  ["host= -> b1", "column 6: expected a value, got nothing"],
  ["host=a,,b -> b1", "column 8: expected a value, got nothing"],
  ["host=a -> b1,", "column 14: expected a value, got nothing"],
  ["host=a host=b -> b1", 'column 8: "host=" stands twice'],
  ["hots=a -> b1", 'column 1: expected protocol=, host=, path=, sni=, alpn= or "->", got "hots=a"'],
  [
    "host=a default -> b1",
    'column 8: expected protocol=, host=, path=, sni=, alpn= or "->", "default" stands alone',
  ],
  [
    "host=a sni=a -> b1",
    'column 8: "sni=a" is about tls, what stands before it about http: the rule can never match',
  ],
  [
    "path=/ protocol=other -> b1",
    'column 8: "protocol=other" is about other, what stands before it about http: ' +
      "the rule can never match",
  ],
  ["protocol=ftp -> b1", 'column 10: expected http, tls or other, got "ftp"'],
  ["protocol=http,tls -> b1", "column 15: expected one protocol, got several"],
  [
    "host=a:80 -> b1",
    'column 6: expected a host name, in ASCII and without port, or "*." and a host name, got "a:80"',
  ],
  ["path=v1 -> b1", 'column 6: expected a path that starts with "/", got "v1"'],
  ["path=/a?b -> b1", 'column 6: expected a path without query, got "/a?b"'],
  ["path=/a* -> b1", 'column 6: expected "*" only at the end, after "/", got "/a*"'],
  ["path=/*/a -> b1", 'column 6: expected "*" only at the end, after "/", got "/*/a"'],
  ["path=/** -> b1", 'column 6: expected "*" only at the end, after "/", got "/**"'],
  ["path=/é -> b1", 'column 6: expected printable ASCII, the rest as %XX, got "/é"'],
  ["alpn=é -> b1", 'column 6: expected a protocol name in ASCII, got "é"'],
  ["default -> b9", 'column 12: no backend or pool is called "b9"'],
  ["default -> b1,b1", 'column 15: "b1" stands twice'],
  ["default -> b1,api", 'column 15: the pool "api" must stand alone'],
  ["default -> b/1", 'column 12: expected a name of letters, digits, ".", "_", "-", got "b/1"'],
  ["default -> api policy=hash", 'column 16: the policy stands with the pool "api"'],
  ["default -> b1 b2", 'column 15: unexpected "b2"'],
  ["default -> b1 policy=hash x", 'column 27: unexpected "x"'],
  [
    "default -> b1 policy=random",
    'column 22: expected round-robin, least-connections, hash, got "random"',
  ],
];

for (const [text, message] of ERRORS) {
  rules(`say what is wrong with ${JSON.stringify(text)}`, () => {
    assert.is(
      failure(() => parse([text])),
      message,
    );
  });
}

rules("refuse names that are no host names, also as wildcards", () => {
  for (const name of ["*", "*.", "a.*", "*a.example", "**.a", "a..b", ".a", "é.example", "a b"]) {
    assert.ok(failure(() => parse([`sni=${name} -> b1`])));
  }
  assert.ok(
    failure(() => parse(["sni=[fd00::1] -> b1"])),
    "SNI holds no address",
  );
});

rules("refuse a rule behind the default", () => {
  const message = failure(() => parse(["default -> b1", "host=a -> b1"]));
  assert.is(message, 'column 1: no rule after "default" can ever match');
});

rules("refuse broken pools", () => {
  const pool = (...texts: string[]) => failure(() => parse([], texts));
  assert.is(pool("api"), 'column 4: expected "=", got the end of the pool');
  assert.is(pool("api="), "column 5: expected a pool or backends, got the end");
  assert.is(pool("api= b9"), 'column 6: no backend or pool is called "b9"');
  assert.is(pool("b1=b2"), 'column 1: "b1" is a backend\'s name already');
  assert.is(pool("api=b1", "api=b2"), 'column 1: pool "api" stands twice');
  assert.is(pool("a=b1", "b=a"), 'column 3: no backend or pool is called "a"');
});

rules("answer any text with a rule or with an error that points into it", () => {
  const words = [
    "host=",
    "path=/",
    "sni=",
    "alpn=",
    "protocol=",
    "default",
    "->",
    "b1",
    "api",
    ",",
  ];
  const word = fc.oneof(fc.constantFrom(...words, "*.", "a", "policy=hash", " "), fc.string());
  const text = fc.array(word).map((list) => list.join(""));
  fc.assert(
    fc.property(text, (route) => {
      try {
        parse([route]);
      } catch (error) {
        assert.instance(error, RuleError);
        const { column } = error as RuleError;
        assert.ok(column >= 1 && column <= route.length + 1, `column ${column}`);
      }
    }),
    { numRuns: 2_000 },
  );
});

rules("tell the caller which text an error is about", () => {
  const texts: string[] = [];
  const source = { backends: BACKENDS, pools: ["p=b1"], routes: ["default -> p", "x"] };
  failure(() => parseRouting(source, (kind, text) => texts.push(`${kind} ${text}`)));
  assert.equal(texts, ["pool p=b1", "route default -> p", "route x"]);
});

rules.run();
