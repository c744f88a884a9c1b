import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import {
  backendConfig,
  classifierConfig,
  forwarderConfig,
  workersOf,
} from "../../host/config/config.ts";
import { BACKEND_FLAGS, FORWARDER_FLAGS } from "../../host/config/flags.ts";
import type { FlagInput } from "../../host/config/schema.ts";
import { BatonError } from "../../host/errors.ts";

const config = suite("configuration");

const FORWARDER: FlagInput = {
  name: "f1",
  vip: ["10.0.0.100:80"],
  backend: ["b1=10.1.0.11,tunnel=10.2.0.11", "b2=10.1.0.12,tunnel=10.2.0.12"],
  tunnel: ["10.2.0.1"],
};
const BACKEND: FlagInput = {
  name: "b1",
  forwarder: ["f1=10.1.0.1,tunnel=10.2.0.1"],
  tunnel: ["10.2.0.11"],
  upstream: "127.0.0.1:8080",
};

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    assert.is(error.code, "ERR_BATON_CONFIG");
    assert.not.match(error.message, "\n");
    return error.message;
  }
  throw new Error("no error");
}

/** The error of a forwarder with these flags changed. */
function forwarderFault(change: FlagInput): string {
  return failure(() => forwarderConfig({ ...FORWARDER, ...change }));
}

function backendFault(change: FlagInput): string {
  return failure(() => backendConfig({ ...BACKEND, ...change }));
}

config("takes a device for the xdp link", () => {
  const wanted = { kind: "xdp", device: "eth0" };
  assert.equal(forwarderConfig({ ...FORWARDER, link: "xdp:eth0" }).link, wanted);
  assert.equal(backendConfig({ ...BACKEND, link: "xdp:eth0" }).link, wanted);
});

config("makes a forwarder of several workers of one", () => {
  const flags = { ...FORWARDER, queues: "2", tunnel: ["10.2.0.1", "fd02::1"] };
  const made = forwarderConfig(flags);
  assert.is(made.queues, 2);
  const [zero, one] = workersOf(made);
  assert.equal(zero, { ...made, queues: 1 });
  assert.equal([one?.name, one?.listen.port, one?.queues], ["f1.1", 4434, 1]);
  assert.equal(
    one?.tunnels.map(({ address }) => address),
    ["10.2.0.2", "fd02::2"],
  );
  const told = ["f1=10.1.0.1,tunnel=10.2.0.1,tunnel=fd02::1,queues=2"];
  const { forwarders } = backendConfig({ ...BACKEND, forwarder: told });
  assert.equal(
    forwarders.map(({ name, endpoint, tunnels }) => [name, endpoint.port, tunnels]),
    workersOf(made).map(({ name, listen, tunnels }) => [name, listen.port, tunnels]),
  );
  assert.is(workersOf(forwarderConfig(FORWARDER)).length, 1);
});

config("says what does not go with several workers", () => {
  const rows: readonly (readonly [FlagInput, RegExp])[] = [
    [{ queues: "0" }, /^--queues: expected a whole number from 1 to 16, got "0"/],
    [{ queues: "2", link: "xdp:eth0" }, /^--queues: expected --link tun, got xdp/],
    [
      { queues: "2", classifier: ["c1=10.1.0.21,tunnel=10.2.0.21"] },
      /^--queues: expected no --classifier/,
    ],
    [{ queues: "11", tunnel: ["10.2.0.1"] }, /^--tunnel: expected different ones, got 10.2.0.11/],
    [{ queues: "2", tunnel: ["10.0.0.99"] }, /^--vip: 10.0.0.100 is a tunnel address too/],
    [{ queues: "2", listen: "0.0.0.0:65535" }, /^--listen: expected a port for worker 1/],
    [
      { queues: "2", backend: ["f1.1=10.1.0.11,tunnel=10.2.0.11"] },
      /^--backend: expected different ones, got f1.1/,
    ],
  ];
  for (const [change, message] of rows) assert.match(forwarderFault(change), message);
  const forwarder = ["f1=10.1.0.1,tunnel=10.2.0.1,queues=2"];
  assert.match(backendFault({ forwarder, tunnel: ["10.2.0.2"] }), /^--tunnel: expected different/);
  const classifier = { vip: FORWARDER.vip, backend: ["b1"], name: "c1", tunnel: ["10.2.0.21"] };
  assert.match(
    failure(() => classifierConfig({ ...classifier, forwarder })),
    /^--forwarder: expected tunnel=ADDRESS, got "queues=2"/,
  );
});

config("gives a forwarder its defaults", () => {
  const made = forwarderConfig({ ...FORWARDER, name: undefined });
  assert.is(made.name, hostname().split(".")[0]);
  assert.equal(made.listen, { address: "0.0.0.0", family: 4, port: 4433 });
  assert.equal(made.link, { kind: "tun", device: "baton0" });
  assert.is(made.egress, "tun");
  assert.is(made.keyFile, "/etc/baton/cluster.key");
  assert.equal([made.mtu, made.announce, made.json], [undefined, undefined, false]);
  assert.is(made.ecn, false);
  assert.equal([made.quiet, made.hugePages], [false, "auto"]);
  assert.equal([made.limits, made.timeouts], [{}, {}]);
  assert.equal(
    made.rules.map(({ text, pool }) => [text, pool.backends.join()]),
    [["default", "b1,b2"]],
  );
});

config("takes every flag of a forwarder", () => {
  const made = forwarderConfig({
    vip: ["10.0.0.100:80", "[fd00::100]:80"],
    backend: ["b1=[fd01::11]:9,tunnel=10.2.0.11,tunnel=fd02::11"],
    tunnel: ["10.2.0.1", "fd02::1"],
    pool: ["p=b1 policy=hash"],
    route: ["host=a -> p"],
    name: "f1",
    listen: "[::]:9",
    "key-file": "/k",
    link: "tun:b0",
    egress: "raw",
    mtu: "9000",
    announce: "eth0",
    ecn: true,
    limit: ["connections=4k", "buffer-bytes=1G", "receive-bytes=16M", "send-bytes=1"],
    timeout: ["head=5s", "keep-alive=1m", "user=2m"],
    json: true,
    quiet: true,
    "huge-pages": "always",
  });
  assert.equal(made.limits, {
    connectionsMax: 4_096,
    bufferBytes: 1_073_741_824,
    rcvBufferMax: 16_777_216,
    sndBufferMax: 1,
  });
  assert.equal(made.timeouts, { headMs: 5_000, keepAliveMs: 60_000, userMs: 120_000 });
  assert.equal(made.link, { kind: "tun", device: "b0" });
  assert.is(made.egress, "raw");
  assert.is(made.rules[0]?.pool.policy, "hash");
  assert.is(made.announce, "eth0");
  assert.is(made.ecn, true);
  assert.is(made.mtu, 9_000);
  assert.is(made.json, true);
  assert.equal([made.quiet, made.hugePages], [true, "always"]);
  assert.equal(structuredClone(made), made, "can be sent to a Worker");
});

config("takes ECN and the time-outs of connections at a classifier too", () => {
  const flags = {
    vip: ["10.0.0.100:80"],
    forwarder: ["f1=10.1.0.1,tunnel=10.2.0.1"],
    tunnel: ["10.2.0.21"],
    backend: ["b1"],
    name: "c1",
  };
  assert.is(classifierConfig(flags).ecn, false);
  const made = classifierConfig({ ...flags, ecn: true, timeout: ["keep-alive=1m", "user=2m"] });
  assert.is(made.ecn, true);
  assert.equal(made.timeouts, { keepAliveMs: 60_000, userMs: 120_000 });
});

config("listens on IPv6 too when a peer is reached by it", () => {
  const made = backendConfig({ ...BACKEND, forwarder: ["f1=fd01::1,tunnel=10.2.0.1"] });
  assert.equal(made.listen, { address: "::", family: 6, port: 4433 });
});

config("takes every flag of a backend", () => {
  const timeout = ["connect=1s"];
  const made = backendConfig({ ...BACKEND, "proxy-protocol": true, timeout, egress: "raw" });
  assert.is(made.egress, "raw");
  assert.equal(made.upstream, { kind: "tcp", host: "127.0.0.1", port: 8080 });
  assert.is(made.proxyProtocol, true);
  assert.is(made.forwarders[0]?.name, "f1");
  assert.equal(made.timeouts, { connectMs: 1_000 });
});

/** Row: changed flags, message. */
const FORWARDER_FAULTS: readonly (readonly [FlagInput, string])[] = [
  [{ vip: ["x"] }, '--vip: expected ADDRESS:PORT, got "x"'],
  [{ vip: [] }, "--vip: expected ADDRESS:PORT at least once, got nothing"],
  [
    { vip: ["10.0.0.1:80", "10.0.0.1:80"] },
    "--vip: expected different ones, got 10.0.0.1 port 80 twice",
  ],
  [{ vip: ["10.2.0.11:80"] }, "--vip: 10.2.0.11 is a tunnel address too"],
  [{ vip: ["[fd00::1]:80"] }, "--tunnel: expected an IPv6 address for the IPv6 --vip"],
  [
    { vip: ["[fd00::1]:80"], tunnel: ["fd02::1"] },
    "--backend: b1: expected an IPv6 tunnel address for the IPv6 --vip",
  ],
  [
    { backend: undefined },
    "--backend: expected NAME=ADDRESS[:PORT],tunnel=ADDRESS at least once, got nothing",
  ],
  [{ name: "b1" }, "--backend: expected different ones, got b1 twice"],
  [{ tunnel: ["10.2.0.12"] }, "--tunnel: expected different ones, got 10.2.0.12 twice"],
  [
    { tunnel: ["10.2.0.1", "10.2.0.2"] },
    '--tunnel: expected one IPv4 tunnel address, got "10.2.0.2"',
  ],
  [
    { route: ["host=a -> b9"] },
    '--route "host=a -> b9": column 11: no backend or pool is called "b9"',
  ],
  [{ pool: ["p"] }, '--pool "p": column 2: expected "=", got the end of the pool'],
  [{ listen: "4433" }, '--listen: expected ADDRESS:PORT, got "4433"'],
  [{ link: "xdp" }, '--link: expected tun, tun:DEVICE or xdp:DEVICE, got "xdp"'],
  [{ link: "xdp:a/b" }, '--link: expected the name of a network interface, got "a/b"'],
  [{ link: "xdp:eth0", egress: "raw" }, "--egress: expected none with --link xdp, got raw"],
  [
    { link: "xdp:eth0", announce: "eth0" },
    "--announce: expected --link tun: the kernel answers for what it routes",
  ],
  [{ egress: "xdp" }, '--egress: expected tun or raw, got "xdp"'],
  [{ "huge-pages": "on" }, '--huge-pages: expected auto, always or never, got "on"'],
  [{ mtu: "100" }, '--mtu: expected a whole number from 576 to 65535, got "100"'],
  [
    { mtu: "1000", tunnel: ["10.2.0.1", "fd02::1"] },
    "--mtu: expected at least 1280 for IPv6 (RFC 8200 5), got 1000",
  ],
  [{ limit: ["connections"] }, '--limit: expected NAME=NUMBER, got "connections"'],
  [
    { limit: ["connections=0"] },
    '--limit: connections: expected a whole number from 1 to 2097151, got "0"',
  ],
  [{ timeout: ["connect=1s"] }, '--timeout: expected one of head, keep-alive, user, got "connect"'],
  [
    { timeout: ["__proto__=1s"] },
    '--timeout: expected one of head, keep-alive, user, got "__proto__"',
  ],
  [{ announce: "a/b" }, '--announce: expected the name of a network interface, got "a/b"'],
  [{ "key-file": "" }, "--key-file: expected a path, got nothing"],
];

for (const [change, message] of FORWARDER_FAULTS) {
  config(`refuses ${JSON.stringify(change)} for a forwarder`, () => {
    assert.is(forwarderFault(change), message);
  });
}

config("refuses broken flags of a backend", () => {
  assert.is(
    backendFault({ upstream: undefined }),
    "--upstream: expected HOST:PORT or unix:/PATH, got nothing",
  );
  assert.is(
    backendFault({ upstream: "8080" }),
    '--upstream: expected HOST:PORT or unix:/PATH, got "8080"',
  );
  assert.is(
    backendFault({ tunnel: ["fd02::11"] }),
    "--tunnel: expected an address of a family that f1 has too",
  );
  assert.match(backendFault({ forwarder: undefined }), "--forwarder: expected NAME=ADDRESS");
  assert.match(backendFault({ tunnel: undefined }), "--tunnel: expected ADDRESS at least once");
  assert.match(backendFault({ timeout: ["head=1s"] }), "expected one of connect, keep-alive, user");
});

config("answers any text for any flag with a value or with one line that names the flag", () => {
  const schemas = [FORWARDER_FLAGS, BACKEND_FLAGS];
  const names = schemas
    .flatMap((schema) => Object.keys(schema))
    .filter((name) => name !== "config");
  const part = fc.constantFrom(
    "10.0.0.1",
    ":",
    "80",
    "[fd00::1]",
    "=",
    "b1",
    ",",
    "tunnel=",
    "unix:/",
    "s",
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(part).map((list) => list.join("")),
  );
  fc.assert(
    fc.property(fc.constantFrom(...names), text, (name, value) => {
      for (const [make, base] of [
        [forwarderConfig, FORWARDER],
        [backendConfig, BACKEND],
      ] as const) {
        const isList = Array.isArray((base as Record<string, unknown>)[name]);
        try {
          make({ ...base, [name]: isList ? [value] : value });
        } catch (error) {
          if (!(error instanceof BatonError)) throw error;
          assert.is(error.code, "ERR_BATON_CONFIG");
          assert.match(error.message, /^--[a-z-]+[ :]/);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

const BY_REQUEST = "10.0.0.100:80,routing=request";

config("routes a service by request where that is asked for", () => {
  const vip = ["10.0.0.100:443", BY_REQUEST, "10.0.0.101:80,routing=connection"];
  const { services } = forwarderConfig({
    ...FORWARDER,
    vip,
    route: ["sni=a.example -> b1", "default -> b2"],
  });
  assert.equal(
    services.map(({ routing }) => routing),
    ["connection", "request", "connection"],
  );
  const names = { backend: ["b1", "b2"], forwarder: ["f1=10.1.0.1,tunnel=10.2.0.1"] };
  const made = classifierConfig({ ...names, name: "c1", tunnel: ["10.2.0.21"], vip: [BY_REQUEST] });
  assert.is(made.services[0]?.routing, "request");
});

config("refuses to route by request what has no requests", () => {
  const where = "--vip 10.0.0.100:80,routing=request: only HTTP/1 has requests: ";
  const cases = [
    [{ route: ["sni=a.example -> b1"] }, `${where}expected a rule for it, got none`],
    [{ route: ["protocol=other -> b1"] }, `${where}expected a rule for it, got none`],
    [
      { route: ["sni=a.example -> b1", "default -> b2"] },
      `${where}expected rules for it, or a --vip without routing=request, got "sni=a.example"`,
    ],
  ] as const;
  for (const [change, expected] of cases) {
    assert.is(forwarderFault({ vip: [BY_REQUEST], ...change }), expected);
  }
  const other = "10.0.0.100:81,routing=packet";
  assert.is(
    forwarderFault({ vip: [other] }),
    '--vip: expected routing=connection or routing=request, got "routing=packet"',
  );
  assert.is(
    forwarderFault({ vip: [`${BY_REQUEST},x=y`] }),
    '--vip: expected at most one option, routing=, got "x=y"',
  );
});

function withFile(content: string, run: (path: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "baton-config-"));
  try {
    const path = join(folder, "baton.json");
    writeFileSync(path, content);
    run(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

config("reads the same flags from a file, and lets the command line win", () => {
  const content = {
    ...FORWARDER,
    mtu: 9000,
    json: true,
    listen: "10.1.0.1:5",
    limit: "records=1k",
  };
  withFile(JSON.stringify(content), (path) => {
    const made = forwarderConfig({ config: path, listen: "10.1.0.1:6", vip: ["10.0.0.9:80"] });
    assert.is(made.mtu, 9_000);
    assert.is(made.json, true);
    assert.is(made.name, "f1");
    assert.is(made.listen.port, 6);
    assert.equal(made.services, [
      { address: "10.0.0.9", family: 4, port: 80, routing: "connection" },
    ]);
    assert.equal(made.limits, { recordsMax: 1_024 });
  });
});

config("says what is wrong with a file", () => {
  const fault = (content: string, expected: string): void =>
    withFile(content, (path) => {
      const message = failure(() => forwarderConfig({ ...FORWARDER, config: path }));
      assert.ok(message.startsWith(`--config ${path}: ${expected}`), message);
    });
  fault("{", "expected a JSON file, got ");
  fault("[]", "expected a JSON object, got something else");
  fault('{"vpi": 1}', 'expected names of flags, got "vpi"');
  fault('{"config": "x"}', 'expected names of flags, got "config"');
  fault('{"toString": 1}', 'expected names of flags, got "toString"');
  fault('{"mtu": [1, 2]}', 'expected mtu: one value, got "[1,2]"');
  fault('{"mtu": {}}', 'expected mtu: text or a number, got "{}"');
  fault('{"json": "yes"}', 'expected json: true or false, got "\\"yes\\""');
  const message = failure(() => forwarderConfig({ config: "/nonexistent/baton.json" }));
  assert.match(message, /^--config \/nonexistent\/baton.json: expected a JSON file, got ENOENT/);
});

config.run();
