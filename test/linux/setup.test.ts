import { spawn } from "node:child_process";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BatonError } from "../../host/errors.ts";
import { openTun, type TunOptions } from "../../host/link/tun.ts";
import { deviceMtu, isUp } from "../../host/linux/device.ts";
import { ipJson } from "../../host/linux/ip.ts";
import { batonDevices, removeAll, removeDevice } from "../../host/linux/setup.ts";
import { readSysctl, writeSysctl } from "../../host/linux/sysctl.ts";
import { ip, privileged } from "../support/namespace.ts";

const setup = suite("setup");
const check = await privileged(import.meta.url, setup);

const GLOBAL = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter"] as const;

if (process.env.BATON_TEST_NAMESPACE) {
  ip("address add 10.99.9.1/32 dev lo", "link add batonv0 type veth peer name batonv1");
  ip("link set batonv0 up", "link set batonv1 up", "address add 10.99.1.1/24 dev batonv0");
  ip("address add fd99:1::1/64 dev batonv0 nodad");
}

function settings(): (string | undefined)[] {
  return GLOBAL.map(readSysctl);
}

function routes(device: string): string[] {
  return [4, 6].flatMap((family) =>
    ipJson([`-${family}`, "route", "show", "dev", device])
      .filter((route) => !String(route.dst).startsWith("fe80"))
      .map((route) => String(route.dst)),
  );
}

async function failure(options: TunOptions): Promise<BatonError> {
  try {
    (await openTun(options)).close();
  } catch (error) {
    return error as BatonError;
  }
  throw new Error("expected an error");
}

check("configures a device and leaves nothing of it behind", async () => {
  const before = settings();
  assert.equal(before, ["0", "0", "0"]);
  const link = await openTun({
    name: "baton1",
    mtu: 1400,
    queueLen: 777,
    routes: [{ to: "10.99.0.1" }, { to: "fd99::/64" }, { to: "10.98.0.0/16", via: "10.99.1.9" }],
  });
  const [device] = ipJson(["-details", "link", "show", "dev", "baton1"]);
  assert.is(device?.txqlen, 777);
  assert.is(device?.inet6_addr_gen_mode, "none");
  assert.is(deviceMtu("baton1"), 1400);
  assert.ok(isUp("baton1"));
  assert.equal(routes("baton1"), ["10.99.0.1", "fd99::/64"]);
  assert.ok(routes("batonv0").includes("10.98.0.0/16"));
  assert.equal(ipJson(["address", "show", "dev", "baton1"])[0]?.addr_info, []);
  assert.equal(settings(), ["1", "1", "0"]);
  assert.is(readSysctl("ipv4/conf/baton1/rp_filter"), "0");
  assert.equal(batonDevices(), ["baton1"]);
  link.close();
  assert.equal(batonDevices(), []);
  assert.not.ok(routes("batonv0").includes("10.98.0.0/16"));
  assert.equal(settings(), before);
});

check("touches no setting of the namespace when nothing is to be forwarded", async () => {
  const link = await openTun({ name: "baton1", forward: false });
  assert.equal(settings(), ["0", "0", "0"]);
  link.close();
});

check("moves the reverse path filter to the other devices, and back", async () => {
  writeSysctl("ipv4/conf/all/rp_filter", "1");
  writeSysctl("ipv4/conf/batonv0/rp_filter", "2");
  writeSysctl("ipv4/conf/batonv1/rp_filter", "0");
  writeSysctl("ipv6/conf/batonv0/accept_ra", "1");
  const link = await openTun({ name: "baton1" });
  assert.is(readSysctl("ipv4/conf/all/rp_filter"), "0");
  assert.is(readSysctl("ipv4/conf/baton1/rp_filter"), "0");
  assert.is(readSysctl("ipv4/conf/batonv0/rp_filter"), "2", "the stricter value stays");
  assert.is(readSysctl("ipv4/conf/batonv1/rp_filter"), "1");
  assert.is(readSysctl("ipv4/conf/default/rp_filter"), "1", "for devices to come");
  assert.is(readSysctl("ipv6/conf/batonv0/accept_ra"), "2", "the default route by RA is kept");
  link.close();
  assert.is(readSysctl("ipv4/conf/all/rp_filter"), "1");
  writeSysctl("ipv4/conf/all/rp_filter", "0");
  for (const device of ["batonv0", "batonv1", "default"]) {
    writeSysctl(`ipv4/conf/${device}/rp_filter`, "0");
  }
});

check("restores the settings with the last of several devices, in whatever order", async () => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const links = [await openTun({ name: "baton1" }), await openTun({ name: "baton2" })];
    assert.equal(settings(), ["1", "1", "0"]);
    links[order[0]!]!.close();
    assert.equal(settings(), ["1", "1", "0"], "the other still needs them");
    links[order[1]!]!.close();
    assert.equal(settings(), ["0", "0", "0"]);
  }
});

check("keeps a persistent device, its routes and settings, until it is removed", async () => {
  const first = await openTun({ name: "baton1", persist: true, routes: [{ to: "10.99.0.1" }] });
  first.close();
  assert.equal(routes("baton1"), ["10.99.0.1"]);
  assert.equal(settings(), ["1", "1", "0"]);
  const again = await openTun({
    name: "baton1",
    persist: true,
    routes: [{ to: "10.99.0.2" }, { to: "10.97.0.0/16", via: "10.99.1.9" }],
  });
  assert.equal(routes("baton1"), ["10.99.0.2"], "the stale route is gone");
  again.close();
  assert.ok(removeDevice("baton1"));
  assert.not.ok(removeDevice("baton1"));
  assert.equal(batonDevices(), []);
  assert.not.ok(routes("batonv0").includes("10.97.0.0/16"));
  assert.equal(settings(), ["0", "0", "0"]);
});

/** A process that opens a persistent device and is killed. */
async function crash(options: TunOptions): Promise<void> {
  const tun = new URL("../../host/link/tun.js", import.meta.url).href;
  const script = `const { openTun } = await import(${JSON.stringify(tun)});
    const link = await openTun(${JSON.stringify(options)});
    link.onReadable(() => {});
    console.log("open");`;
  const args = ["--input-type=module", "-e", script];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
}

check("takes over what a killed process left, and restores what it found", async () => {
  await crash({ name: "baton1", persist: true, routes: [{ to: "10.99.0.1" }, { to: "fd99::1" }] });
  assert.equal(batonDevices(), ["baton1"]);
  assert.equal(routes("baton1"), ["10.99.0.1", "fd99::1"]);
  assert.equal(settings(), ["1", "1", "0"]);
  const link = await openTun({ name: "baton1", routes: [{ to: "fd99::1" }] });
  assert.equal(routes("baton1"), ["fd99::1"]);
  link.close();
  assert.equal(batonDevices(), [], "this owner did not want it to persist");
  assert.equal(settings(), ["0", "0", "0"]);
  await crash({ name: "baton1", routes: [{ to: "10.99.0.1" }] });
  assert.equal(batonDevices(), [], "a device that does not persist goes with its process");
  for (const name of GLOBAL.slice(0, 2)) writeSysctl(name, "0");
});

check("removes everything of ours and nothing else", async () => {
  for (const name of ["baton1", "baton2"]) {
    const to = `10.99.0.${name.at(-1)}`;
    const routes = [{ to }, { to: `10.9${name.at(-1)}.0.0/16`, via: "10.99.1.9" }];
    (await openTun({ name, persist: true, routes })).close();
  }
  ip("neigh add proxy 10.99.0.1 dev batonv0 protocol 98", "neigh add proxy 10.99.0.9 dev batonv0");
  ip("route add 10.94.0.0/16 via 10.99.1.9");
  assert.equal(removeAll().sort(), ["baton1", "baton2"]);
  assert.equal(removeAll(), []);
  assert.equal(settings(), ["0", "0", "0"]);
  assert.equal(
    routes("batonv0").filter((to) => to.endsWith("/16")),
    ["10.94.0.0/16"],
  );
  const proxies = ipJson(["neigh", "show", "proxy"]).map((entry) => entry.dst);
  assert.equal(proxies, ["10.99.0.9"]);
  ip("neigh del proxy 10.99.0.9 dev batonv0", "route del 10.94.0.0/16");
});

check("replaces a leftover of ours that it cannot attach to, and nobody else's", async () => {
  ip("tuntap add dev baton1 mode tun", "link set dev baton1 alias baton,f4=0,f6=0");
  const link = await openTun({ name: "baton1" });
  link.close();
  assert.equal(batonDevices(), []);
  ip("tuntap add dev baton1 mode tun");
  const foreign = await failure({ name: "baton1" });
  assert.is(foreign.code, "ERR_BATON_BUSY");
  assert.match(foreign.message, /^device baton1: expected .*got one with other flags/);
  ip("link del dev baton1");
  assert.match((await failure({ name: "batonv0" })).message, /got veth/);
  ip("tuntap add dev baton1 mode tun vnet_hdr");
  (await openTun({ name: "baton1", persist: true })).close();
  assert.equal(batonDevices(), ["baton1"], "a device made for us by somebody else is used");
  removeDevice("baton1");
});

check("refuses a device that another process has, in one line", async () => {
  const link = await openTun({ name: "baton1" });
  const error = await failure({ name: "baton1" });
  assert.is(error.code, "EBUSY");
  assert.match(error.message, /^tun baton1: [^\n]+$/);
  assert.equal(batonDevices(), ["baton1"]);
  link.close();
});

check(
  "refuses addresses that a kernel owns or another route has, and undoes the rest",
  async () => {
    ip("route add 10.99.0.7/32 dev batonv0", "route add 10.96.0.0/16 via 10.99.1.7");
    const cases = [
      [{ to: "10.99.9.1" }, /expected one that no device has, got one of lo/],
      [{ to: "fd99:1:0::1/128" }, /got one of batonv0/],
      [{ to: "10.99.0.7" }, /expected it free, got a route to it by batonv0/],
      [{ to: "10.96.0.0/16", via: "10.99.1.8" }, /got a route to it by 10.99.1.7/],
      [
        { to: "10.95.0.0/16", via: "10.55.55.55" },
        /^ip route replace 10.95.0.0\/16 via 10.55.55.55/,
      ],
      [{ to: "nonsense" }, /expected ADDRESS\[\/LENGTH\], got nonsense/],
      [{ to: "10.0.0.0/33" }, /got 10.0.0.0\/33/],
    ] as const;
    for (const [route, message] of cases) {
      for (const persist of [false, true]) {
        const error = await failure({ name: "baton1", persist, routes: [route] });
        assert.match(error.message, message);
        assert.equal(batonDevices(), []);
        assert.equal(settings(), ["0", "0", "0"]);
      }
    }
    const link = await openTun({ name: "baton1", routes: [{ to: "10.99.0.8" }] });
    const second = await failure({ name: "baton2", routes: [{ to: "10.99.0.8" }] });
    assert.is(second.code, "ERR_BATON_BUSY");
    assert.match(second.message, /by baton1 \(baton down removes it\)/);
    assert.equal(routes("baton1"), ["10.99.0.8"]);
    link.close();
  },
);

check("refuses names that are none", async () => {
  for (const name of ["", "a/b", "..", "x".repeat(16), "a b", "ünïcödé-device"]) {
    const error = await failure({ name });
    assert.is(error.code, "ERR_BATON_CONFIG", name);
  }
});

setup.run();
