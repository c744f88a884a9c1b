/** The middlebox: its decisions alone, then on a real path against the kernel. */
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { Impairer, type Impairment } from "../../host/lab/impair.ts";
import type { OwnLab } from "../../host/lab/lab.ts";
import type { Middlebox } from "../../host/lab/middlebox.ts";
import { firstLine, startServer, supportScript, withLab } from "../support/lab.ts";

const MIB = 1 << 20;
const box = suite("lab middlebox");

/** An IPv4 header's first byte, then the number of the packet. */
function packet(number: number): Uint8Array {
  const bytes = new Uint8Array(40);
  bytes[0] = 0x45;
  new DataView(bytes.buffer).setUint32(20, number);
  return bytes;
}

function numberOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer).getUint32(20);
}

/** Sends `count` packets 100 us apart; what leaves, in order, with its time. */
function simulate(impairment: Impairment, seed: number, count: number): [number, number][] {
  const impairer = new Impairer(impairment, seed);
  const out: [number, number][] = [];
  for (let index = 0, nowUs = 1; index < count || impairer.nextTimeoutUs() < Infinity;) {
    const isSending = index < count && (index + 1) * 100 <= impairer.nextTimeoutUs();
    if (isSending) {
      nowUs = (index + 1) * 100;
      impairer.handlePacket(packet(index), 0, nowUs);
      index += 1;
    } else {
      nowUs = Math.max(nowUs, impairer.nextTimeoutUs());
    }
    for (;;) {
      const bytes = impairer.pollPacket(nowUs);
      if (bytes === undefined) break;
      out.push([numberOf(bytes), nowUs]);
    }
  }
  const { packets, lost, duplicated, overflow, passed } = impairer.counters;
  assert.is(passed, packets - lost + duplicated - overflow, "every packet is accounted for");
  assert.is(passed, out.length);
  return out;
}

box("the same seed repeats every choice, another seed makes other ones", () => {
  const bad = {
    lossPercent: 10,
    duplicatePercent: 10,
    reorderPercent: 10,
    jitterMs: 1,
    delayMs: 2,
  };
  assert.equal(simulate(bad, 7, 500), simulate(bad, 7, 500));
  assert.not.equal(simulate(bad, 7, 500), simulate(bad, 8, 500));
});

box("the fate of a packet does not depend on the other impairments", () => {
  const lost = (more: Impairment): number[] => {
    const out = new Set(simulate({ lossPercent: 20, ...more }, 3, 400).map(([number]) => number));
    return Array.from({ length: 400 }, (_, number) => number).filter((number) => !out.has(number));
  };
  assert.equal(
    lost({}),
    lost({ delayMs: 5, jitterMs: 3, reorderPercent: 30, duplicatePercent: 5 }),
  );
});

box("any mix of impairments accounts for every packet and ends", () => {
  const percent = fc.integer({ min: 0, max: 100 });
  const mix = fc.record({
    lossPercent: percent,
    reorderPercent: percent,
    duplicatePercent: percent,
    corruptPercent: percent,
    delayMs: fc.integer({ min: 0, max: 50 }),
    jitterMs: fc.integer({ min: 0, max: 50 }),
  });
  fc.assert(fc.property(mix, fc.nat(1000), (each, seed) => void simulate(each, seed, 100)));
});

box("loses the packets with data that it is told to, and no others", () => {
  const impairer = new Impairer({ lose: [2, 5] }, 1);
  const send = (number: number, length: number): void => {
    const bytes = new Uint8Array(length);
    bytes.set(packet(number));
    impairer.handlePacket(bytes, 0, 1);
  };
  const left: number[] = [];
  const drain = (): void => {
    for (let bytes = impairer.pollPacket(1); bytes; bytes = impairer.pollPacket(1)) {
      left.push(numberOf(bytes));
    }
  };
  for (let number = 1; number <= 6; number += 1) {
    send(number, 101);
    send(100 + number, 100); // bare headers: not counted
  }
  drain();
  assert.equal(left, [1, 101, 102, 3, 103, 4, 104, 105, 6, 106]);
  impairer.change({ lose: [1] });
  send(7, 1500);
  send(8, 1500);
  drain();
  assert.equal(left.slice(-1), [8], "counted anew");
  assert.is(impairer.counters.lost, 3);
});

box("delay and jitter keep the order and their bounds", () => {
  const out = simulate({ delayMs: 10, jitterMs: 4 }, 1, 1000);
  assert.equal(
    out.map(([number]) => number),
    Array.from({ length: 1000 }, (_, number) => number),
  );
  const delays = out.map(([number, atUs]) => atUs - (number + 1) * 100);
  assert.ok(Math.min(...delays) >= 6000 && Math.max(...delays) <= 14_000);
  assert.ok(Math.max(...delays) - Math.min(...delays) > 2000, "it varies");
});

box("a reordered packet is overtaken by one to three others", () => {
  const out = simulate({ reorderPercent: 5 }, 1, 2000).map(([number]) => number);
  const late = out.map((number, at) => out.slice(0, at).filter((other) => other > number).length);
  assert.ok(late.filter((overtaken) => overtaken > 0).length > 50);
  assert.ok(Math.max(...late) <= 6, "others may be held at the same time, not many");
});

box("what cannot be is refused before anything is started", async () => {
  await withLab("bad options", { backends: 0 }, async (lab) => {
    for (const options of [
      { lossPercent: 101 },
      { down: { lose: [0] } },
      { delayMs: -1 },
      { up: { jitterMs: NaN } },
      { seed: 0.5 },
    ]) {
      const error = await lab.middlebox("client", options).catch(String);
      assert.match(String(error), /middlebox \w+: expected .*, got /);
    }
    const error = await Promise.resolve()
      .then(() => lab.middlebox("b9", {}))
      .catch(String);
    assert.match(String(error), /lab node: expected one of router, client, .*, got "b9"/);
  });
});

async function sendDatagrams(lab: OwnLab, host: string, count: number): Promise<number[]> {
  const script = supportScript("labudp");
  const receiver = lab.node("b1").exec(process.execPath, [script, "receive", "9000"], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  await firstLine(receiver);
  const args = [script, "send", host, "9000", String(count)];
  const { status, stderr } = await lab.nodes.client.run(process.execPath, args);
  assert.is(status, 0, stderr);
  await wait(200); // The last ones are still on their way.
  const line = new Promise<string>((resolve) => {
    if (receiver.stdout) createInterface({ input: receiver.stdout }).once("line", resolve);
  });
  receiver.stdin?.end();
  return JSON.parse(await line) as number[];
}

/** Five standard deviations of a binomial distribution. */
function near(got: number, count: number, percent: number, what: string): void {
  const p = percent / 100;
  const tolerance = 5 * Math.sqrt(count * p * (1 - p));
  const expected = count * p;
  assert.ok(Math.abs(got - expected) <= tolerance, `${what}: ${got}, expected about ${expected}`);
}

box("datagrams arrive as the counters say, and the counters are what was asked for", async () => {
  await withLab("statistics", { backends: 1 }, async (lab) => {
    const count = 4000;
    const up = { lossPercent: 5, duplicatePercent: 4, reorderPercent: 3, corruptPercent: 2 };
    const { address4, address6 } = lab.node("b1").address;
    for (const host of [address4, address6]) {
      const path = await lab.middlebox("client", { up, delayMs: 1, seed: 42 });
      const numbers = await sendDatagrams(lab, host, count);
      const seen = (await path.close()).up;
      assert.is(seen.packets, count);
      assert.equal([seen.refused, seen.overflow], [0, 0]);
      near(seen.lost, count, 5, "lost");
      near(seen.duplicated, count * 0.95, 4, "duplicated");
      near(seen.reordered, count * 0.95, 3, "reordered");
      near(seen.corrupted, count * 0.95, 2, "corrupted");
      // The kernel drops what was corrupted; of those some were to arrive twice.
      const missing = count - new Set(numbers).size;
      assert.is(missing, seen.lost + seen.corrupted);
      const twice = numbers.length - new Set(numbers).size;
      assert.ok(twice <= seen.duplicated && twice >= seen.duplicated - seen.corrupted);
      const steps = numbers.filter((number, at) => at > 0 && number < numbers[at - 1]!).length;
      assert.ok(steps > 0 && steps <= 2 * seen.reordered, `${steps} steps back`);
    }
  });
});

interface Fetched {
  bytes: number;
  sha256: string;
  text: string;
  ms: number;
}

async function fetchFrom(lab: OwnLab, url: string, upload = 0): Promise<Fetched> {
  const args = [supportScript("labclient"), url, String(upload)];
  const { stdout, stderr, status } = await lab.nodes.client.run(process.execPath, args);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout) as Fetched;
}

async function transfer(lab: OwnLab, bytes: number): Promise<Fetched[]> {
  const { address4, address6 } = lab.node("b1").address;
  const sha256 = patternSha256(bytes);
  const results: Fetched[] = [];
  for (const host of [address4, `[${address6}]`]) {
    const down = await fetchFrom(lab, `http://${host}:8080/${bytes}`);
    assert.equal([down.bytes, down.sha256], [bytes, sha256]);
    const up = await fetchFrom(lab, `http://${host}:8080/`, bytes);
    assert.equal(JSON.parse(up.text), { bytes, sha256 });
    results.push(down, up);
  }
  return results;
}

box("a path that only delays passes 64 KiB segments whole, at speed", async () => {
  await withLab("delay", { backends: 1 }, async (lab) => {
    await startServer(lab.node("b1"), 8080);
    const path = await lab.middlebox("b1", { delayMs: 10 });
    const { address4 } = lab.node("b1").address;
    const { ms } = await fetchFrom(lab, `http://${address4}:8080/1`);
    assert.ok(ms >= 40, `connect and request took ${ms.toFixed(1)} ms, two round trips are 40`);
    await path.change({ delayMs: 1 });
    const before = await path.counters();
    const results = await transfer(lab, 64 * MIB);
    const after = await path.close();
    for (const direction of ["up", "down"] as const) {
      const packets = after[direction].packets - before[direction].packets;
      const size = (after[direction].bytes - before[direction].bytes) / packets;
      assert.ok(size > 3000, `${direction}: ${size.toFixed(0)} bytes a packet on average`);
      assert.equal([after[direction].lost, after[direction].refused], [0, 0]);
    }
    // The goal is 1 Gbit/s; the bound leaves room for a machine that others use as well.
    const gbit = Math.max(...results.map(({ ms }) => (64 * MIB * 8) / ms / 1e6));
    assert.ok(gbit > 0.3, `${gbit.toFixed(2)} Gbit/s`);
  });
});

box("transfers are intact over loss, duplication, reordering and corruption", async () => {
  await withLab("bad path", { backends: 1 }, async (lab) => {
    await startServer(lab.node("b1"), 8080);
    const bad = { lossPercent: 2, duplicatePercent: 1, reorderPercent: 1, corruptPercent: 0.2 };
    const path = await lab.middlebox("client", { ...bad, delayMs: 1, seed: 5 });
    await transfer(lab, 4 * MIB);
    const { up, down } = await path.close();
    for (const direction of [up, down]) {
      near(direction.lost, direction.packets, 2, "lost");
      assert.ok(direction.bytes / direction.packets <= 1500, "packets of wire size");
    }
  });
});

box("a packet passes each box on its way once, in both directions", async () => {
  await withLab("two paths", { backends: 1 }, async (lab) => {
    await startServer(lab.node("b1"), 8080);
    const paths: Middlebox[] = [];
    for (const node of ["client", "b1"])
      paths.push(await lab.middlebox(node, { lossPercent: 0.001 }));
    await fetchFrom(lab, `http://${lab.node("b1").address.address4}:8080/100000`);
    await wait(100); // The connection's last packets are counted too.
    const [client, b1] = await Promise.all(paths.map((path) => path.counters()));
    assert.ok((client?.up.packets ?? 0) > 10 && (client?.down.packets ?? 0) > 60);
    assert.equal(client?.up.packets, b1?.down.packets);
    assert.equal(client?.down.packets, b1?.up.packets);
    for (const path of paths) await path.close();
    const rules = await lab.nodes.router.run("sh", ["-c", "ip rule; ip -6 rule; ip -br link"]);
    assert.not(/mbup|mbdown|pref [123]0|iif/.test(rules.stdout), rules.stdout);
  });
});

box("packets pass untouched when the box dies", async () => {
  await withLab("dead box", { backends: 1 }, async (lab) => {
    await startServer(lab.node("b1"), 8080);
    const path = await lab.middlebox("client", { lossPercent: 100 });
    await lab.nodes.router.run("sh", [
      "-c",
      "kill -9 $(grep -lz relay.js /proc/[0-9]*/cmdline | cut -d/ -f3)",
    ]);
    const error = await path.counters().catch(String);
    assert.match(String(error), /middlebox client: ended/);
    await fetchFrom(lab, `http://${lab.node("b1").address.address4}:8080/1000`);
  });
});

box.run();
