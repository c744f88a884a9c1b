/** The table and the goals of bench:lab: what is made of samples. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PacketSample } from "../../bench/compare/packets.ts";
import {
  goalsOf,
  latencyRow,
  noteOf,
  packetsRow,
  type Goal,
  type Row,
} from "../../bench/compare/table.ts";

const table = suite("bench/table");

const sample = (forwarded: number, cpuSeconds: number): PacketSample => ({
  ...{ sent: 1_000_000, seconds: 2, senderSeconds: 1.5 },
  ...{ forwarded, cpuSeconds },
});

const goal = (rows: readonly Row[], part: string): Goal | undefined =>
  goalsOf(rows).find(({ name }) => name.includes(part));

table(
  "gives packets by medians of the rounds, and charges the forwarder for what it forwarded",
  () => {
    const samples = [sample(500_000, 1), sample(800_000, 1.6), sample(900_000, 3.6)];
    assert.equal(packetsRow("tun", samples), {
      workload: "packets",
      system: "tun",
      figures: {
        "offered/s": 500_000,
        "forwarded/s": 400_000,
        "lost %": (1 - 0.8) * 100,
        "CPU us": 2,
        "packets/CPU-s": 500_000,
        "sender us": 1.5,
      },
    });
    const even = packetsRow("xdp", [sample(1_000_000, 1), sample(1_000_000, 2)]);
    assert.is(even.figures["CPU us"], 1.5, "between the two in the middle");
  },
);

table("compares xdp with tun, and tun with its own goal, at their bounds", () => {
  const rows = (tunSeconds: number, xdpSeconds: number): Row[] => [
    packetsRow("tun", [sample(900_000, tunSeconds)]),
    packetsRow("xdp", [sample(900_000, xdpSeconds)]),
  ];
  const [best, worst] = [rows(1.8, 0.99), rows(1.8, 1.01)];
  assert.is(goal(best, "by xdp over")?.isMet, true);
  assert.is(goal(worst, "by xdp over")?.isMet, false);
  assert.is(goal(worst, "by xdp over")?.value.toFixed(3), "0.561");
  assert.is(goal(rows(5, 1), "by tun,")?.isMet, true, "exactly 180,000");
  assert.is(goal(rows(5.01, 1), "by tun,")?.isMet, false);
});

table("has no goal without a figure", () => {
  assert.equal(goalsOf([]), []);
  const rows = [packetsRow("tun", [sample(1, 1)])];
  assert.equal(
    goalsOf(rows).map(({ name }) => name),
    ["packets: by tun, for each second of processor time"],
  );
});

table("counts what a handoff adds from the server of the same kind", () => {
  const rows = [
    latencyRow("direct", [100]),
    latencyRow("direct-node", [900]),
    latencyRow("baton-upstream", [450]),
    latencyRow("baton-library", [1400]),
  ];
  assert.is(goal(rows, "adds to direct, p50")?.value, 350);
  const library = goal(rows, "adds to direct-node, p50");
  assert.equal([library?.value, library?.isMet], [500, false]);
});

table("compares with HAProxy in the same run, and not without", () => {
  const row = (system: Row["system"], figures: Row["figures"]): Row => ({
    ...{ workload: "1g", system, figures },
  });
  const baton = row("baton-library", { "CPU-s/GiB": 0.05 });
  assert.is(goal([baton], "1g"), undefined);
  assert.is(goal([baton, row("haproxy", { "CPU-s/GiB": 1 })], "1g")?.isMet, true);
  assert.is(goal([baton, row("haproxy", { "CPU-s/GiB": 0.7 })], "1g")?.isMet, false);
});

table("holds a connection's processor time against its budget, with or without HAProxy", () => {
  const row = (us: number): Row => ({
    ...{ workload: "connect", system: "baton-library", figures: { "CPU us": us } },
  });
  assert.is(goal([row(40)], "CPU us of the forwarder")?.isMet, true);
  assert.is(goal([row(40.1)], "CPU us of the forwarder")?.isMet, false);
});

table("has a note for every goal, should it be missed", () => {
  const every = { "CPU us": 1, "CPU-s/GiB": 1, "GB/s": 1, "p50 us": 1, "packets/CPU-s": 1 };
  const rows = (["1g", "connect", "1m", "latency", "packets"] as const).flatMap((workload) =>
    (
      ["direct", "direct-node", "baton-upstream", "baton-library", "haproxy", "tun", "xdp"] as const
    ).map((system): Row => ({ workload, system, figures: every })),
  );
  const goals = goalsOf(rows);
  assert.is(goals.length, 12);
  for (const { name } of goals) assert.ok(noteOf(name).length > 20);
  assert.throws(() => noteOf("something else: faster"), /no note/);
});

table.run();
