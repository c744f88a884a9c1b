/** Daemons that cannot start, and `baton down`: one clear line, the right exit status, nothing left behind. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openTun } from "../../host/link/tun.ts";
import { ipJson } from "../../host/linux/ip.ts";
import { batonDevices } from "../../host/linux/setup.ts";
import { baton, startBaton, type Ended } from "../support/cli.ts";
import { ip, privileged, until } from "../support/namespace.ts";

const start = suite("start");
const check = await privileged(import.meta.url, start);

const folder = mkdtempSync(join(tmpdir(), "baton-start-"));
const KEY = join(folder, "cluster.key");
writeFileSync(KEY, `${"5a".repeat(32)}\n`, { mode: 0o600 });
start.after(() => rmSync(folder, { recursive: true }));

const COMMON = ["--key-file", KEY, "--listen", "127.0.0.1:4433", "--link", "tun:baton1"];
const FORWARDER = [
  ...["forwarder", "--name", "f1", "--vip", "10.99.0.100:80", "--tunnel", "10.99.2.1"],
  ...["--backend", "b1=127.0.0.11,tunnel=10.99.2.11", ...COMMON],
];
const BACKEND = [
  ...["backend", "--name", "b1", "--tunnel", "10.99.2.11", "--upstream", "127.0.0.1:8080"],
  ...["--forwarder", "f1=127.0.0.1,tunnel=10.99.2.1", ...COMMON],
];
const ROLES = [FORWARDER, BACKEND];

/** One line of ours on stderr, nothing else; no device. */
function refused({ status, stdout, stderr }: Ended, expected: number, line: RegExp): void {
  assert.match(stderr, /^baton: [^\n]+\n$/);
  assert.match(stderr, line);
  assert.equal([status, stdout], [expected, ""]);
  assert.equal(batonDevices(), []);
}

check("ends with 1 where another process has the port for datagrams", async () => {
  const socket = createSocket("udp4").bind(4433, "127.0.0.1");
  await once(socket, "listening");
  try {
    for (const args of ROLES) {
      const line =
        /^baton: datagrams on 127\.0\.0\.1 port 4433: expected a free address .*EADDRINUSE/;
      refused(await baton(...args), 1, line);
    }
  } finally {
    socket.close();
  }
});

check("ends with 1 where the address for datagrams is not this machine's", async () => {
  for (const args of ROLES) {
    const words = args.map((word) => word.replace("127.0.0.1:4433", "192.0.2.1:4433"));
    refused(await baton(...words), 1, /192\.0\.2\.1 port 4433: expected a free .*EADDRNOTAVAIL/);
  }
});

check("ends with 1 where another process has the device", async () => {
  const link = await openTun({ name: "baton1" });
  try {
    for (const args of ROLES) {
      const ended = await baton(...args);
      const line = "baton: tun baton1: expected a device that nobody uses, got one that another";
      assert.equal([ended.status, ended.stdout], [1, ""]);
      assert.is(ended.stderr, `${line} process has\n`);
    }
    assert.equal(batonDevices(), ["baton1"], "it is still the other's");
  } finally {
    link.close();
  }
});

check("ends with 1 where the device's name belongs to something else", async () => {
  ip("link add baton1 type veth peer name batonother");
  try {
    for (const args of ROLES) {
      refused(
        await baton(...args),
        1,
        /^baton: device baton1: expected none or a TUN .*got veth$/m,
      );
    }
  } finally {
    ip("link del baton1");
  }
});

check("ends with 1 where a kernel owns a service or tunnel address", async () => {
  const rows = [
    [FORWARDER, "10.99.0.100"],
    [FORWARDER, "10.99.2.1"],
    [BACKEND, "10.99.2.11"],
  ] as const;
  for (const [args, address] of rows) {
    ip(`address add ${address}/32 dev lo`);
    try {
      const ended = await baton(...args);
      refused(ended, 1, /: expected one that no device has, got one of lo$/m);
      assert.match(ended.stderr, `baton: address ${address}: `);
    } finally {
      ip(`address del ${address}/32 dev lo`);
    }
  }
});

check("ends with 1 where a service address is routed elsewhere", async () => {
  ip("route add 10.99.0.100/32 dev lo");
  try {
    refused(await baton(...FORWARDER), 1, /address 10\.99\.0\.100.*expected it free, got a route/);
  } finally {
    ip("route del 10.99.0.100/32 dev lo");
  }
});

check("ends with 77 where the privilege for the device is missing", async () => {
  for (const args of ROLES) {
    // A user namespace of its own has no say over this network namespace.
    const { ended } = startBaton(args, ["unshare", "--user"]);
    refused(await ended, 77, /CAP_NET_ADMIN|EPERM|EACCES/);
    const raw = startBaton([...args, "--egress", "raw"], ["unshare", "--user"]);
    refused(await raw.ended, 77, /^baton: raw: expected the privilege CAP_NET_RAW, got EPERM$/m);
  }
});

check("ends with 1 for a device to announce on that does not fit", async () => {
  const absent = await baton(...FORWARDER, "--announce", "batonnone");
  refused(absent, 1, /device batonnone: .*ENODEV/);
  const lo = await baton(...FORWARDER, "--announce", "lo");
  refused(lo, 2, /^baton: announce lo: expected an Ethernet device/);
});

check("ends with 1 for a key file that is absent, empty, foreign or open to others", async () => {
  const other = join(folder, "other.key");
  const rows = [
    ["", 0o600, /expected one or two keys, got none/],
    ["secret\n", 0o600, /line 1: expected 32 bytes as 64 hexadecimal digits.*got 6 characters/],
    [`${"5a".repeat(32)}\n`, 0o644, /expected a file for its owner only .*got mode 644/],
  ] as const;
  for (const args of ROLES) {
    const words = args.map((word) => (word === KEY ? other : word));
    refused(await baton(...words), 1, /other\.key: expected a readable file, got ENOENT/);
    for (const [text, mode, line] of rows) {
      writeFileSync(other, text);
      chmodSync(other, mode);
      refused(await baton(...words), 1, line);
    }
    rmSync(other);
  }
});

check("ends with 2 for limits that no core can hold", async () => {
  for (const args of ROLES) {
    const ended = await baton(...args, "--limit", "buffer-bytes=4095M");
    refused(ended, 2, /^baton: --limit: expected limits that fit into 4 GiB together, got core: /);
  }
});

check("removes with `down` what a killed forwarder left, and nothing else", async () => {
  ip("link add batonv0 type veth peer name batonv1", "link set batonv0 up");
  ip("neigh add proxy 10.99.0.9 dev batonv0");
  const forwarder = startBaton([...FORWARDER, "--announce", "batonv0", "--json"]);
  await until("a forwarder", () => forwarder.output.stdout.includes('"ready"'));
  forwarder.child.kill("SIGKILL");
  await forwarder.ended;
  assert.equal(batonDevices(), ["baton1"], "established connections survive a restart");
  const proxies = () => ipJson(["neigh", "show", "proxy"]).map(({ dst }) => dst);
  assert.equal(proxies().sort(), ["10.99.0.100", "10.99.0.9"]);
  const down = await baton("down");
  assert.equal(down, { status: 0, stdout: "removed baton1\n", stderr: "" });
  assert.equal(batonDevices(), []);
  assert.equal(proxies(), ["10.99.0.9"]);
  assert.equal(await baton("down"), { status: 0, stdout: "removed no device\n", stderr: "" });
  ip("link del batonv0");
});

check("says with `down` that a privilege is missing", async () => {
  (await openTun({ name: "baton1", persist: true })).close();
  const { status, stdout, stderr } = await startBaton(["down"], ["unshare", "--user"]).ended;
  assert.match(stderr, /^baton: [^\n]*EPERM|Operation not permitted[^\n]*\n$/);
  assert.equal([status, stdout], [77, ""]);
  assert.is((await baton("down")).status, 0);
});

start.run();
