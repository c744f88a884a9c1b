import { suite } from "uvu";
import * as assert from "uvu/assert";
import fc from "fast-check";
import { countersJson, countersSince, formatCounters } from "../../host/observe/counters.ts";
import { createLog } from "../../host/observe/log.ts";
import { formatHead, formatReport, formatReports, reportJson } from "../../host/observe/report.ts";
import type { ConnectionReport } from "../../host/observe/report.ts";
import {
  printable,
  showBytes,
  showCount,
  showFlow,
  showMicroseconds,
} from "../../host/observe/text.ts";

const observe = suite("observe");

const REPORT: ConnectionReport = {
  client: { address: "10.1.1.2", port: 40_312 },
  service: { address: "10.0.0.100", port: 80 },
  head: { protocol: "http", method: "GET", host: "api.example", path: "/v1/x" },
  backend: "b1",
  rule: "host=api.example path=/v1/*",
  blobBytes: 412,
  flow: 0xc0007,
  handoffUs: 384.4,
  attempts: 1,
  forwardedBytes: 78,
  directBytes: 104_857_600,
};

observe("shows bytes, times, counts and flow identifiers for people", () => {
  assert.equal([0, 1023, 1024, 1536, 2 ** 30].map(showBytes), [
    ...["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 GiB"],
  ]);
  assert.equal([0, 384.4, 1_240, 12_000_000].map(showMicroseconds), [
    ...["0 us", "384 us", "1.24 ms", "12.0 s"],
  ]);
  assert.equal([0, 999, 1000, 1_234_567, 2n ** 64n - 1n].map(showCount), [
    ...["0", "999", "1,000", "1,234,567", "18,446,744,073,709,551,615"],
  ]);
  assert.equal([1, 0xfffffffe].map(showFlow), ["0x00000001", "0xfffffffe"]);
});

observe("tells a connection in one line", () => {
  assert.is(
    formatReport(REPORT),
    "10.1.1.2:40312 -> 10.0.0.100:80  GET api.example/v1/x  " +
      'b1 by "host=api.example path=/v1/*"  blob 412 B  flow 0x000c0007  handoff 384 us  ' +
      "forwarded 78 B  direct 100.0 MiB\n",
  );
});

observe("tells what failed, and leaves out what is not known", () => {
  const { client } = REPORT;
  const service = { address: "fd00::100", port: 443 };
  assert.is(
    formatReport({ client, service, failure: "400: folded header line" }),
    "10.1.1.2:40312 -> [fd00::100]:443  -  400: folded header line\n",
  );
  const refused = { client, service, backend: "b2", attempts: 2, failure: "reset" };
  assert.match(formatReport(refused), /  b2  2 attempts  reset\n$/);
});

observe("tells what was read of every protocol", () => {
  assert.is(formatHead(undefined), "-");
  assert.is(formatHead({ protocol: "other" }), "other");
  assert.is(formatHead({ protocol: "tls", serverName: "a.b", alpn: ["h2", "x"] }), "TLS a.b h2,x");
  assert.is(formatHead({ protocol: "tls", serverName: "", alpn: [] }), "TLS (no name)");
});

observe("gives the same fields as JSON", () => {
  const line = reportJson(REPORT);
  assert.ok(line.endsWith("}\n"));
  const { client, service, ...rest } = REPORT;
  assert.ok(client && service);
  assert.equal(JSON.parse(line), {
    ...{ event: "connection", client: "10.1.1.2:40312", service: "10.0.0.100:80" },
    ...rest,
  });
});

observe("lines reports up in a table", () => {
  const lines = formatReports([REPORT, { ...REPORT, backend: undefined, failure: "404" }]).split(
    "\n",
  );
  assert.match(
    lines[0] ?? "",
    /^client +read +backend +why +blob +flow +handoff +forwarded +direct$/,
  );
  assert.is(lines.length, 4);
  const columns = lines.slice(0, 3).map((line) => /\b(why|host=api|404)/.exec(line)?.index);
  assert.is(new Set(columns).size, 1);
});

observe("lets no text from the network out of its line", () => {
  assert.is(printable("a\x1b[31m\n\x00é😀"), "a\\x1b[31m\\x0a\\x00\\xe9\\u{1f600}");
  const string = fc.string({ unit: "binary", maxLength: 300 });
  fc.assert(
    fc.property(string, string, fc.array(string), (a, b, alpn) => {
      const head = { protocol: "tls", serverName: a, alpn } as const;
      const line = formatReport({ ...REPORT, head, failure: b });
      assert.match(line, /^[\x20-\x7e]*\n$/);
      assert.match(
        formatReports([{ ...REPORT, head, failure: b }]),
        /^[\x20-\x7e]*\n[\x20-\x7e]*\n$/,
      );
      assert.not.match(reportJson({ ...REPORT, head, failure: b }).slice(0, -1), /[\n\x1b\x00]/);
    }),
  );
});

observe("shows counters that moved, or all of them", () => {
  const groups = { core: { tcpReset: 0, tcpBytesIn: 12_345n }, link: { dropped: 7 } };
  assert.is(
    formatCounters(groups),
    "room  counter      value\ncore  tcpBytesIn  12,345\nlink  dropped          7\n",
  );
  assert.match(formatCounters(groups, true), /^core {2}tcpReset +0$/m);
  assert.is(formatCounters({ core: { a: 0 } }), "every counter is zero\n");
  assert.equal(JSON.parse(countersJson(groups)), {
    event: "counters",
    core: { tcpReset: 0, tcpBytesIn: 12_345 },
    link: { dropped: 7 },
  });
  assert.match(countersJson({ core: { big: 2n ** 60n } }), '"big":"1152921504606846976"');
});

observe("counts between two looks", () => {
  const before = { core: { a: 1, b: 5n } };
  const now = { core: { a: 4, b: 7n }, link: { c: 2 } };
  assert.equal(countersSince(before, now), { core: { a: 3, b: 2n }, link: { c: 2 } });
});

observe("logs text and JSON from a level on", () => {
  const lines: string[] = [];
  const options = {
    level: "info",
    wallMs: () => 1_000,
    write: (line: string) => lines.push(line),
  } as const;
  const text = createLog({ ...options, json: false });
  text.write("warn", "peer\nis suspect", {
    peer: "b1",
    missed: 3,
    why: 'no "beat"',
    list: [1],
    gone: undefined,
  });
  text.write("debug", "not wanted");
  const json = createLog({ ...options, json: true });
  json.write("error", "x", { flow: 7n, error: new Error("e"), level: "forged" });
  assert.is(
    lines[0],
    "1970-01-01T00:00:01.000Z warn  peer\\x0ais suspect peer=b1 missed=3 " +
      'why="no \\"beat\\"" list=[1]\n',
  );
  assert.is(lines.length, 2);
  assert.equal(JSON.parse(lines[1] ?? ""), {
    ...{ flow: 7, error: "e", event: "log", time: "1970-01-01T00:00:01.000Z" },
    ...{ level: "error", message: "x" },
  });
});

observe.run();
