import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BatonError } from "../../host/errors.ts";
import { announce, announcementOf } from "../../host/link/neighbour.ts";
import { openTun } from "../../host/link/tun.ts";
import { macBytes } from "../../host/linux/address.ts";
import { deviceMac } from "../../host/linux/device.ts";
import { ipJson } from "../../host/linux/ip.ts";
import { removeProxies } from "../../host/linux/proxy.ts";
import { readSysctl } from "../../host/linux/sysctl.ts";
import { ip, Peer, privileged, until } from "../support/namespace.ts";
import { Reader } from "../support/reader.ts";

const neighbour = suite("neighbour");
const check = await privileged(import.meta.url, neighbour);

const SERVICES = ["10.99.1.100", "fd99:1::100"];
const ROUTES = SERVICES.map((to) => ({ to }));
const SETTINGS = [
  "ipv4/conf/batonv0/forwarding",
  "ipv6/conf/batonv0/forwarding",
  "ipv6/conf/batonv0/proxy_ndp",
  "ipv4/neigh/batonv0/proxy_delay",
  "ipv6/neigh/batonv0/proxy_delay",
];

neighbour("builds the announcements that the RFCs show", () => {
  const mac = macBytes("02:00:5e:10:00:01");
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const arp = announcementOf("192.0.2.1", mac);
  assert.is(arp.protocol, 0x0806);
  assert.is(hex(arp.to), "ffffffffffff");
  assert.is(hex(arp.bytes), "000108000604000102005e100001c0000201000000000000c0000201");
  const na = announcementOf("2001:db8::1", mac);
  assert.is(na.protocol, 0x86dd);
  assert.is(hex(na.to), "333300000001");
  const address = "20010db8000000000000000000000001";
  assert.is(
    hex(na.bytes),
    `6000000000203aff${address}ff020000000000000000000000000001` +
      `88001b1aa0000000${address}020102005e100001`,
  );
  assert.throws(() => announcementOf("192.0.2.256", mac), /expected an IP address/);
});

let peer: Peer;
if (process.env.BATON_TEST_NAMESPACE) {
  neighbour.before(async () => {
    peer = await Peer.open("batonv0", "batonv1");
    ip("address add 10.99.1.1/24 dev batonv0", "address add fd99:1::1/64 dev batonv0 nodad");
    peer.ip("address add 10.99.1.2/24 dev batonv1", "address add fd99:1::2/64 dev batonv1 nodad");
    await until("a carrier", () => operstate() === "UP");
  });
  neighbour.after(() => peer.close());
}

function operstate(): unknown {
  return ipJson(["link", "show", "dev", "batonv0"])[0]?.operstate;
}

/** What the peer believes about an address: its MAC, "" when nothing. */
function known(address: string): string {
  const entries = JSON.parse(peer.run("ip", ["-json", "neigh", "show", "to", address])) as {
    lladdr?: string;
  }[];
  return entries[0]?.lladdr ?? "";
}

function proxies(): string[] {
  return ipJson(["neigh", "show", "proxy"]).map((entry) => String(entry.dst));
}

check("makes addresses that nobody owns resolve from another host, at once", async () => {
  const before = SETTINGS.map(readSysctl);
  const tun = await openTun({ name: "baton1", routes: ROUTES });
  const reader = new Reader(tun);
  const announcement = announce("batonv0", SERVICES);
  try {
    peer.ip("neigh flush dev batonv1");
    const asking = peer.start(`
      import { createSocket } from "node:dgram";
      console.log("asks");
      createSocket("udp4").send("four", 9, "10.99.1.100");
      createSocket("udp6").send("six", 9, "fd99:1::100");`);
    await asking.line();
    const started = Date.now();
    const text = () => reader.packets.map((packet) => Buffer.from(packet).toString("latin1"));
    await until("both datagrams", () => {
      const all = text();
      return all.some((one) => one.endsWith("four")) && all.some((one) => one.endsWith("six"));
    });
    assert.ok(Date.now() - started < 5000);
    for (const address of SERVICES) assert.is(known(address), deviceMac("batonv0"));
    assert.equal(SETTINGS.map(readSysctl), ["1", "1", "1", "0", "0"]);
    assert.equal(proxies().sort(), SERVICES);
  } finally {
    announcement.close();
    announcement.close();
    tun.close();
  }
  assert.equal(proxies(), []);
  assert.equal(SETTINGS.map(readSysctl), before);
  await announcement.done;
});

check("moves addresses away from a neighbour that had them before", async () => {
  const tun = await openTun({ name: "baton1", routes: ROUTES });
  for (const address of SERVICES) {
    peer.ip(`neigh replace ${address} lladdr 02:00:00:00:00:99 dev batonv1 nud reachable`);
  }
  const announcement = announce("batonv0", SERVICES);
  try {
    await until("new entries", () =>
      SERVICES.every((address) => known(address) === deviceMac("batonv0")),
    );
  } finally {
    announcement.close();
    tun.close();
  }
});

check("removes what a crashed predecessor left, and nobody else's", async () => {
  const tun = await openTun({ name: "baton1", routes: [...ROUTES, { to: "10.99.1.102" }] });
  ip(
    "neigh add proxy 10.99.1.77 dev batonv0 protocol 98", // a predecessor's, routed no more
    "neigh add proxy 10.99.1.102 dev batonv0 protocol 98", // another node's
    "neigh add proxy 10.99.1.78 dev batonv0", // the administrator's
    "neigh add proxy 10.99.1.100 dev batonv0 protocol 98", // a predecessor's, wanted again
  );
  const announcement = announce("batonv0", SERVICES);
  try {
    assert.equal(proxies().sort(), ["10.99.1.100", "10.99.1.102", "10.99.1.78", "fd99:1::100"]);
    announcement.close();
    assert.equal(proxies().sort(), ["10.99.1.102", "10.99.1.78"]);
    assert.is(readSysctl("ipv6/conf/batonv0/proxy_ndp"), "1", "another node needs it");
    removeProxies();
    assert.equal(proxies(), ["10.99.1.78"]);
  } finally {
    announcement.close();
    tun.close();
  }
});

check("refuses devices that have no neighbours, in one line", () => {
  const failure = (device: string): BatonError => {
    try {
      announce(device, SERVICES).close();
    } catch (error) {
      return error as BatonError;
    }
    throw new Error("expected an error");
  };
  assert.is(failure("batonnone").code, "ENODEV");
  assert.match(failure("lo").message, /^announce lo: expected an Ethernet device/);
});

neighbour.run();
