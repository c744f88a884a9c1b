import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  parseCount,
  parseDuration,
  parseInterface,
  parseListen,
  parseNetworkAddress,
  parsePeer,
  parseService,
  parseUpstream,
} from "../../host/config/values.ts";
import { parseForwarder } from "../../host/config/queues.ts";

const values = suite("configuration values");

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Error) return error.message;
  }
  throw new Error("no error");
}

values("read service addresses of both families, in canonical form", () => {
  assert.equal(parseService("10.0.0.100:80"), { address: "10.0.0.100", family: 4, port: 80 });
  assert.equal(parseService("[FD00:0::100]:443"), { address: "fd00::100", family: 6, port: 443 });
});

values("refuse what is no service address", () => {
  const wrong = ["", "x", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:8x"];
  for (const text of [
    ...wrong,
    "fd00::1:80",
    "[fd00::1]",
    "[10.0.0.1]:80",
    ":80",
    "[]:80",
    "a:b:1",
  ]) {
    assert.match(
      failure(() => parseService(text)),
      /^expected ADDRESS:PORT, got /,
      text,
    );
  }
  assert.is(
    failure(() => parseService("x")),
    'expected ADDRESS:PORT, got "x"',
  );
  assert.is(
    failure(() => parseService("")),
    "expected ADDRESS:PORT, got nothing",
  );
  assert.is(
    failure(() => parseService("host:80")),
    'expected an IP address, got "host"',
  );
  for (const text of [
    "0.0.0.0:80",
    "224.0.0.1:80",
    "255.255.255.255:80",
    "[::]:80",
    "[ff02::1]:80",
  ]) {
    assert.match(
      failure(() => parseService(text)),
      "expected a unicast address",
      text,
    );
  }
});

values("let a node listen anywhere", () => {
  assert.equal(parseListen("0.0.0.0:4433"), { address: "0.0.0.0", family: 4, port: 4433 });
  assert.equal(parseListen("[::]:1"), { address: "::", family: 6, port: 1 });
  assert.equal(parseListen("10.0.0.1:1"), { address: "10.0.0.1", family: 4, port: 1 });
});

values("read a peer's name, address, port and tunnels", () => {
  const b1 = { name: "b1", tunnels: [{ address: "10.2.0.11", family: 4 }] };
  const at = (address: string, family: number, port: number) => ({ address, family, port });
  const read = (where: string) => parsePeer(`b1=${where},tunnel=10.2.0.11`);
  assert.equal(read("10.1.0.11"), { ...b1, endpoint: at("10.1.0.11", 4, 4433) });
  assert.equal(read("10.1.0.11:9"), { ...b1, endpoint: at("10.1.0.11", 4, 9) });
  assert.equal(read("fd00::b1"), { ...b1, endpoint: at("fd00::b1", 6, 4433) });
  assert.equal(read("[fd00::b1]"), { ...b1, endpoint: at("fd00::b1", 6, 4433) });
  assert.equal(read("[fd00::b1]:9"), { ...b1, endpoint: at("fd00::b1", 6, 9) });
  const both = parsePeer("b1=10.1.0.11,tunnel=fd02::11,tunnel=10.2.0.11");
  assert.equal(
    both.tunnels.map(({ address }) => address),
    ["fd02::11", "10.2.0.11"],
  );
});

values("read a forwarder with its workers", () => {
  const workers = parseForwarder("lb=10.1.0.1:4440,tunnel=10.2.0.254,queues=3,tunnel=fd02::ffff");
  assert.equal(workers, [
    ...parseForwarder("lb=10.1.0.1:4440,tunnel=10.2.0.254,tunnel=fd02::ffff"),
    parsePeer("lb.1=10.1.0.1:4441,tunnel=10.2.0.255,tunnel=fd02::1:0"),
    parsePeer("lb.2=10.1.0.1:4442,tunnel=10.2.1.0,tunnel=fd02::1:1"),
  ]);
  const plain = "lb=10.1.0.1,tunnel=10.2.0.1";
  assert.equal(parseForwarder(plain), [parsePeer(plain)]);
  const wrong: readonly (readonly [string, RegExp])[] = [
    [`${plain},queues=0`, /expected a whole number from 1 to 16, got "0"/],
    [`${plain},queues=17`, /from 1 to 16, got "17"/],
    [`${plain},queues=2,queues=2`, /expected queues= once/],
    ["lb=10.1.0.1,queues=2", /expected NAME=ADDRESS/],
    ["lb=10.1.0.1:65535,tunnel=10.2.0.1,queues=2", /a port for worker 1, too, got "65535"/],
    ["lb=10.1.0.1,tunnel=223.255.255.255,queues=2", /a unicast address, got "224.0.0.0"/],
  ];
  for (const [text, message] of wrong) assert.throws(() => parseForwarder(text), message, text);
});

values("say what is wrong with a peer", () => {
  const of = (text: string) => failure(() => parsePeer(text));
  const form = "expected NAME=ADDRESS[:PORT],tunnel=ADDRESS[,tunnel=ADDRESS], got";
  assert.is(of("b1"), `${form} "b1"`);
  assert.is(of("b1=10.1.0.11"), `${form} "b1=10.1.0.11"`);
  assert.is(of("b1=10.1.0.11,10.2.0.11"), 'expected tunnel=ADDRESS, got "10.2.0.11"');
  assert.is(of("b1=10.1.0.11,tunnel="), "expected an IP address, got nothing");
  assert.is(
    of("b1=10.1.0.11,tunnel=10.2.0.1,tunnel=10.2.0.2"),
    'expected one IPv4 tunnel address, got "10.2.0.2"',
  );
  assert.is(of("b1=x,tunnel=10.2.0.1"), 'expected ADDRESS or ADDRESS:PORT, got "x"');
  assert.match(of("b/1=10.1.0.11,tunnel=10.2.0.1"), "expected a name");
});

values("read upstreams", () => {
  assert.equal(parseUpstream("127.0.0.1:8080"), { kind: "tcp", host: "127.0.0.1", port: 8080 });
  assert.equal(parseUpstream("[::1]:8080"), { kind: "tcp", host: "::1", port: 8080 });
  assert.equal(parseUpstream("localhost:1"), { kind: "tcp", host: "localhost", port: 1 });
  assert.equal(parseUpstream("unix:/run/a b.sock"), { kind: "unix", path: "/run/a b.sock" });
  const long = `unix:/${"x".repeat(107)}`;
  const wrong = ["", "8080", "unix:", "unix:run", "a b:1", "-a:1", "1.2.3:80", "http://a:1", long];
  for (const text of wrong) {
    const message = failure(() => parseUpstream(text));
    assert.match(message, "expected HOST:PORT or unix:/PATH, got", text);
  }
});

values("read counts and their multiples within bounds", () => {
  assert.is(parseCount("1", 1, 10), 1);
  assert.is(parseCount("64k", 1, 1e9), 65_536);
  assert.is(parseCount("2M", 1, 1e9), 2_097_152);
  assert.is(parseCount("1G", 1, 2e9), 1_073_741_824);
  for (const text of ["", "0", "11", "-1", "1.5", "1e1", "1K", "k", " 1", "0x1", "99999999999"]) {
    assert.match(
      failure(() => parseCount(text, 1, 10)),
      "a whole number from 1 to 10",
      text,
    );
  }
});

values("read times within bounds", () => {
  assert.is(parseDuration("500ms", 1, 1e6), 500);
  assert.is(parseDuration("1.5s", 1, 1e6), 1_500);
  assert.is(parseDuration("2m", 1, 1e6), 120_000);
  assert.is(parseDuration("1h", 1, 1e7), 3_600_000);
  for (const text of ["", "10", "s", "-1s", "1d", "1 s", "1ms", "2h"]) {
    const message = failure(() => parseDuration(text, 100, 3_600_000));
    assert.match(message, "expected a time from 100ms to 1h, as 500ms or 10s, got", text);
  }
});

values("take names that the kernel gives interfaces", () => {
  assert.is(parseInterface("eth0.100"), "eth0.100");
  for (const text of ["", "a/b", "a b", "..", "a".repeat(16), "a:1"]) {
    assert.match(
      failure(() => parseInterface(text)),
      "expected the name of a network interface",
    );
  }
});

values("take addresses in full and refuse what only looks like one", () => {
  assert.equal(parseNetworkAddress("FD00::00A"), { address: "fd00::a", family: 6 });
  for (const text of ["010.0.0.1", "10.0.0", "fd00::1%eth0", "[fd00::1]", "fd00:::1"]) {
    assert.match(
      failure(() => parseNetworkAddress(text)),
      "expected an IP address",
      text,
    );
  }
});

values.run();
