/** Reports of connections on their way to standard output: lines of a turn together, quiet ones not at all. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Reporter, type ReporterOptions } from "../../host/daemon/reporter.ts";
import { reportJson, type ConnectionReport } from "../../host/observe/report.ts";

const reporter = suite("reporter");

const REPORT: ConnectionReport = {
  client: { address: "10.1.1.2", port: 40_312 },
  service: { address: "10.0.0.100", port: 80 },
  backend: "b1",
};

function make(options: Partial<ReporterOptions> = {}): { made: Reporter; writes: string[] } {
  const writes: string[] = [];
  const write = (text: string): void => void writes.push(text);
  return { made: new Reporter({ json: true, quiet: false, write, ...options }), writes };
}

reporter("writes all lines of a turn at its end, in order and once", async () => {
  const { made, writes } = make();
  const second = { ...REPORT, backend: "b2" };
  made.report(REPORT);
  made.report(second);
  assert.equal(writes, []);
  await new Promise(setImmediate);
  assert.equal(writes, [reportJson(REPORT) + reportJson(second)]);
  made.report(REPORT);
  await new Promise(setImmediate);
  assert.equal(writes.slice(1), [reportJson(REPORT)]);
});

reporter("writes what waits when it is told to, and nothing twice", async () => {
  const { made, writes } = make({ json: false });
  made.report(REPORT);
  made.flush();
  assert.equal(writes, ["10.1.1.2:40312 -> 10.0.0.100:80  -  b1\n"]);
  await new Promise(setImmediate);
  made.flush();
  assert.is(writes.length, 1);
});

reporter("writes much in pieces of whole lines, each small enough to be one in a pipe", () => {
  const { made, writes } = make();
  const path = "ä".repeat(3_000);
  const reports = Array.from({ length: 60 }, (_, index) => ({
    ...REPORT,
    backend: index === 30 ? path : `b${index}`,
  }));
  for (const report of reports) made.report(report);
  made.flush();
  assert.is(writes.join(""), reports.map((report) => reportJson(report)).join(""));
  const isWhole = (text: string): boolean => text.endsWith("\n");
  assert.ok(writes.every(isWhole));
  const large = writes.filter((text) => Buffer.byteLength(text) > 4096);
  assert.is(large.length, 1, "only a line that is longer itself");
  assert.is(large[0]?.match(/\n/g)?.length, 1);
  assert.ok(writes.length < 8, `${writes.length} writes`);
});

reporter("wants only failures when it is quiet", () => {
  const loud = make().made;
  const quiet = make({ quiet: true }).made;
  assert.equal([loud.wants(false), loud.wants(true)], [true, true]);
  assert.equal([quiet.wants(false), quiet.wants(true)], [false, true]);
});

reporter.run();
