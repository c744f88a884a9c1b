/**
 * Golden blobs of each format version, read by the core and by the reader that was written from docs/blob.md.
 * UPDATE_GOLDEN=1 writes a missing file anew; an existing one is never changed, for nodes in the field read it.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { blobJson, formatBlob, readBlob } from "../../host/observe/blob.ts";
import type { BlobReport } from "../../host/observe/blob.ts";
import { ROOT, read } from "../house/source.ts";
import { counter } from "../support/batch.ts";
import { BUILDS, openCore } from "../support/core.ts";
import { End, Pair, pattern } from "../tcp/pair.ts";
import { compile, freeze, infuse, setMapping } from "./mover.ts";

const golden = suite("golden blob");

const FAMILIES = [4, 6] as const;
const NOW_US = 50_000_000;

const VERSIONS = [1, 2] as const;
type Version = (typeof VERSIONS)[number];

function path(family: 4 | 6, version: Version): string {
  return join(ROOT, "test", "fixtures", `blob-v${version}-ipv${family}.bin`);
}

/** A connection with something in every queue; of version 2: marks of congestion to be told of both ways. */
function make(family: 4 | 6, version: Version): Uint8Array {
  const pair = new Pair({ family, a: { startUs: 2_000_000 }, b: { ecn: true } });
  const { a, b } = pair.open(version === 2);
  let count = 0;
  pair.wire.pass = (packet, from) => from === "b" || packet.payload.length === 0 || ++count !== 2;
  pair.a.write(a, pattern(4_000), pair.now);
  pair.b.write(b, pattern(16_000), pair.now);
  pair.b.option(b, "KEEPALIVE_US", 30_000_000);
  if (version === 1) {
    pair.run(1_500);
    freeze(pair.b.core, b);
  } else {
    pair.wire.mark = () => true;
    let isFrozen = false;
    pair.onStep = () => {
      if (isFrozen || counter(pair.b.core, "TCP_ECN_REDUCED") === 0) return;
      freeze(pair.b.core, b); // before CWR could leave
      isFrozen = true;
    };
    pair.runUntil(() => isFrozen, 1);
  }
  setMapping(pair.b.core, 3, Uint8Array.of(1, 2, 3));
  return compile(pair.b.core, b, pair.now + pair.b.startUs);
}

function load(family: 4 | 6, version: Version = 1): Uint8Array {
  const file = path(family, version);
  if (!existsSync(file) && process.env["UPDATE_GOLDEN"]) writeFileSync(file, make(family, version));
  return new Uint8Array(readFileSync(file));
}

function report(blob: Uint8Array): BlobReport {
  const result = readBlob(blob);
  if ("fault" in result) throw new Error(result.fault);
  return result;
}

for (const family of FAMILIES) {
  for (const build of BUILDS) {
    for (const version of VERSIONS) {
      const name = `of version ${version} is taken, and compiles to the same bytes`;
      golden(`${name} (IPv${family}, ${build})`, () => {
        const blob = load(family, version);
        assert.is(blob[4], version);
        const end = new End(build, "b", { family, startUs: NOW_US });
        const handle = infuse(end.core, blob, NOW_US);
        assert.ok(handle > 0, `infuse returned ${handle}`);
        freeze(end.core, handle);
        assert.equal(compile(end.core, handle, NOW_US), blob);
      });
    }
  }

  golden(`is read by what docs/blob.md says alone (IPv${family})`, () => {
    const blob = load(family);
    const { sums, connection, state, flags, data, tcp, mapping, ip } = report(blob);
    const addresses = {
      4: "10.0.0.1:40000 -> 10.0.0.2:80",
      6: "[fd00::1]:40000 -> [fd00::2]:80",
    };
    assert.is(sums, "ok");
    assert.is(connection, addresses[family]);
    assert.is(state, "ESTABLISHED");
    for (const flag of ["TIMESTAMPS", "SACK", "WINDOW_SCALE", "PASSIVE"]) {
      assert.ok(flags.includes(flag), flag);
    }
    assert.ok(data.unread > 0 && data.unacknowledged > 0 && data.unsent > 0);
    assert.is(
      data.unread + data.outOfOrder.reduce((sum, [from, to]) => sum + to - from, 0) < 4_000,
      true,
    );
    assert.is(data.outOfOrder.length, 1);
    assert.is(data.application, 3);
    assert.is(Number(tcp["sndNxt"]) - Number(tcp["sndUna"]), data.unacknowledged);
    assert.is(mapping["flow"], 0x0007_0009);
    assert.is(mapping["generation"], 3);
    assert.is(mapping["tunnel4"], "10.9.0.1");
    assert.is(mapping["forwarder"], "0102030405060708");
    assert.is(ip.ttl, 64);
  });

  golden(`of version 2 shows the marks of congestion (IPv${family})`, () => {
    const { flags, sums } = report(load(family, 2));
    assert.is(sums, "ok");
    for (const flag of ["ECN", "ECN_ECHO", "ECN_CWR", "ECN_REDUCED"]) {
      assert.ok(flags.includes(flag), `${flag} in ${flags.join()}`);
    }
    for (const flag of report(load(family, 1)).flags) assert.not.match(flag, /ECN/);
  });

  golden(`reader and core agree on every field (IPv${family})`, () => {
    const blob = load(family);
    const { tcp } = report(blob);
    const end = new End("release", "b", { family, startUs: NOW_US });
    const handle = infuse(end.core, blob, NOW_US);
    const names = {
      SND_UNA: "sndUna",
      SND_NXT: "sndNxt",
      SND_WND: "sndWnd",
      RCV_NXT: "rcvNxt",
      RCV_WND: "rcvWnd",
      ISS: "iss",
      IRS: "irs",
      LAST_ACK_SENT: "lastAckSent",
      TS_RECENT: "tsRecent",
      CWND: "cwnd",
      SSTHRESH: "ssthresh",
      SRTT_US: "srttUs",
      RTO_US: "rtoUs",
    };
    for (const [info, name] of Object.entries(names)) {
      assert.is(end.info(handle, info), tcp[name], name);
    }
  });
}

golden("reads as text and as one JSON object", () => {
  const one = report(load(4));
  assert.match(formatBlob(one), /connection +10\.0\.0\.1:40000 -> 10\.0\.0\.2:80 {2}ESTABLISHED/);
  const parsed = JSON.parse(blobJson(one)) as {
    data: { application: number };
    tcp: { iss: number };
  };
  assert.is(parsed.data.application, 3);
  assert.is(parsed.tcp.iss, one.tcp["iss"]);
});

golden("is shown with a wrong sum, and not at all when it is no blob", () => {
  const blob = load(4);
  const body = Uint8Array.from(blob);
  body[400] = (body[400] ?? 0) ^ 1;
  assert.is(report(body).sums, "body");
  const header = Uint8Array.from(blob);
  header[141] = (header[141] ?? 0) ^ 1;
  assert.is(report(header).sums, "header");
  assert.ok("fault" in readBlob(blob.subarray(0, 100)));
  assert.ok("fault" in readBlob(blob.subarray(0, blob.length - 8)));
  assert.ok("fault" in readBlob(new Uint8Array(1000)));
});

golden("reader never throws on any bytes", () => {
  const blob = load(4);
  const change = fc.tuple(fc.nat({ max: blob.length - 1 }), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 8 }),
      fc.nat({ max: blob.length }),
      (changes, cut) => {
        const bytes = Uint8Array.from(blob.subarray(0, cut > 600 ? blob.length : cut));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const result = readBlob(bytes);
        if (!("fault" in result)) assert.ok(formatBlob(result).length > 100);
      },
    ),
    { numRuns: 500 },
  );
});

golden("the offsets of docs/blob.md are those of the format", () => {
  const core = openCore("release");
  const text = read("docs/blob.md");
  const documented = new Set(
    [...text.matchAll(/\| +(\d+)$/gm)].map(([, offset]) => Number(offset)),
  );
  const source = read("assembly/blob/format.ts");
  const block = /export enum BlobOff \{([\s\S]*?)\n\}/.exec(source)?.[1] ?? "";
  const names = [...block.matchAll(/^ {2}(\w+) = (\d+),/gm)];
  assert.ok(names.length > 50);
  for (const [, name = "", offset] of names) {
    assert.is(core.constant(`BlobOff.${name}`), Number(offset));
    // Fields narrower than a line of the picture stand in the line that begins at a multiple of four.
    assert.ok(documented.has(Number(offset) & ~3), `${name} at ${offset} is documented`);
  }
  assert.match(text, new RegExp(`fixed part = ${core.constant("BLOB_FIXED_LEN")}`));
});

golden.run();
