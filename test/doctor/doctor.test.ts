/** `baton doctor`: what it says of machines that lack one thing, and of this one. */
import { spawnSync } from "node:child_process";
import { networkInterfaces } from "node:os";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { examine, isFit, type Finding } from "../../host/doctor/examine.ts";
import { findingsJson, formatFindings } from "../../host/doctor/show.ts";
import type { Machine, Trial } from "../../host/doctor/system.ts";

const doctor = suite("doctor");

const MAIN = fileURLToPath(new URL("../../host/cli/main.js", import.meta.url));
const NOBODY = 65_534;
const SETTINGS: Readonly<Record<string, string>> = {
  "ipv4/ip_forward": "1",
  "ipv6/conf/all/forwarding": "1",
  "ipv4/conf/all/rp_filter": "0",
};

function healthy(change: Partial<Machine> = {}): Machine {
  return {
    platform: "linux x64",
    node: "v20.1.0",
    try: () => undefined,
    setting: (name) => SETTINGS[name],
    maySet: () => true,
    devices: () => [{ name: "eth0", mtu: 1500, without: [] }],
    isClockSynchronised: () => true,
    filesMax: () => 20_000,
    hasProgram: () => true,
    ...change,
  };
}

function without(...trials: Trial[]): Partial<Machine> {
  return { try: (what) => (trials.includes(what) ? `no ${what}` : undefined) };
}

function settings(change: Readonly<Record<string, string>>, may: boolean): Partial<Machine> {
  return { setting: (name) => ({ ...SETTINGS, ...change })[name], maySet: () => may };
}

doctor("has nothing to say of a machine with everything", () => {
  const findings = examine(healthy());
  const notes = findings.filter(({ verdict }) => verdict !== "ok");
  assert.equal(notes, []);
  assert.ok(isFit(findings));
  assert.is(new Set(findings.map(({ name }) => name)).size, findings.length);
});

/** Row: what is changed, the finding, its verdict, part of what was found. */
const ROWS: readonly (readonly [Partial<Machine>, string, Finding["verdict"], string])[] = [
  [{ platform: "darwin arm64" }, "platform", "missing", "darwin arm64"],
  [{ node: "v18.20.0" }, "Node", "missing", "v18.20.0"],
  [without("calls"), "system calls", "missing", "no calls"],
  [without("simd"), "core", "missing", "no simd"],
  [{ hasProgram: (name) => name !== "ip" }, "iproute2", "missing", "no program ip"],
  [without("tun"), "link tun", "missing", "no tun"],
  [without("segments"), "64 KiB segments", "note", "no segments"],
  [without("raw"), "--egress raw", "note", "no raw"],
  [without("xdp"), "link xdp", "note", "no xdp"],
  [settings({ "ipv4/ip_forward": "0" }, true), "IPv4 forwarding", "ok", "off; a node turns it on"],
  [settings({ "ipv4/ip_forward": "0" }, false), "IPv4 forwarding", "missing", "off"],
  [settings({ "ipv6/conf/all/forwarding": "0" }, false), "IPv6 forwarding", "missing", "off"],
  [{ setting: () => undefined }, "IPv6 forwarding", "note", "no IPv6 here"],
  [settings({ "ipv4/conf/all/rp_filter": "1" }, true), "rp_filter", "ok", "strict"],
  [settings({ "ipv4/conf/all/rp_filter": "2" }, false), "rp_filter", "missing", "loose"],
  [
    { devices: () => [{ name: "e1", mtu: 1500, without: ["tso", "gro"] }] },
    ...(["device e1", "note", "MTU 1500, without tso, gro"] as const),
  ],
  [{ devices: () => [{ name: "w", mtu: 1420, without: [] }] }, "MTU", "note", "1420"],
  [{ devices: () => [] }, "MTU", "note", "no device"],
  [without("buffer"), "datagram buffer", "note", "no buffer"],
  [without("huge"), "huge pages", "note", "no huge"],
  [without("cipher"), "encryption", "note", "no cipher"],
  [settings({ "netfilter/nf_conntrack_count": "7" }, true), "conntrack", "note", "7 connections"],
  [{ isClockSynchronised: () => false }, "clock", "note", "nobody"],
  [{ isClockSynchronised: () => undefined }, "clock", "note", "cannot be asked"],
  [{ filesMax: () => 1024 }, "files", "note", "1024 open files"],
];

for (const [change, name, verdict, found] of ROWS) {
  doctor(`says "${found}" of ${name}: ${verdict}`, () => {
    const findings = examine(healthy(change));
    const one = findings.find((finding) => finding.name === name);
    assert.is(one?.verdict, verdict);
    assert.match(one?.found ?? "", found);
    assert.is(isFit(findings), verdict !== "missing");
    if (verdict !== "ok") assert.is.not(one?.advice, "");
  });
}

doctor("shows a line for each finding and one for the end", () => {
  const findings = examine(healthy(without("tun")));
  const lines = formatFindings(findings).split("\n");
  assert.is(lines.length, findings.length + 2);
  assert.match(formatFindings(findings), /^MISSING {2}link tun +no tun: run as root/m);
  assert.is(lines.at(-2), "no node can run here");
  assert.equal(JSON.parse(findingsJson(findings)), { fit: false, findings });
});

function run(as: { uid?: number; gid?: number } = {}) {
  const ran = spawnSync(process.execPath, [MAIN, "doctor", "--json"], { encoding: "utf8", ...as });
  return { ...ran, said: JSON.parse(ran.stdout) as { fit: boolean; findings: Finding[] } };
}

doctor("ends with 0 or 77 as it says itself, and leaves no device behind", () => {
  const before = Object.keys(networkInterfaces());
  const { status, stderr, said } = run();
  assert.is(stderr, "");
  assert.is(status, said.fit ? 0 : 77);
  assert.is(said.fit, isFit(said.findings));
  assert.equal(Object.keys(networkInterfaces()), before);
});

doctor("tells a user without privileges which one is missing", () => {
  if (process.getuid?.() !== 0)
    return void console.log("SKIP nobody's doctor: only root can be nobody");
  const { status, said } = run({ uid: NOBODY, gid: NOBODY });
  const tun = said.findings.find(({ name }) => name === "link tun");
  assert.equal([status, tun?.verdict], [77, "missing"]);
  assert.match(tun?.found ?? "", /CAP_NET_ADMIN|\/dev\/net\/tun|EACCES/);
});

doctor.run();
