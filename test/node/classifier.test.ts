/** The classifier's time limits, over a stack of which only the calls are seen. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Core, CoreEvent } from "../../host/core/core.ts";
import { Classifier, type Classified, type MoveOutcome } from "../../host/node/classifier.ts";
import { createRouter, parseRouting } from "../../host/routing/router.ts";

const classifier = suite("classifier");

const LIMIT_US = 10_000_000;
const HANDLE = 0x400_001;
const TUPLE = {
  family: 4,
  remote: Uint8Array.of(10, 1, 0, 2),
  remotePort: 40_000,
  local: Uint8Array.of(10, 0, 0, 100),
  localPort: 80,
} as const;

interface Move {
  readonly request: Classified;
  readonly done: (outcome: MoveOutcome) => void;
}

/** One connection at a time, all by one handle. */
class Stage {
  nowUs = 1;
  unread = new Uint8Array(0);
  written = "";
  readonly calls: string[] = [];
  readonly moves: Move[] = [];
  /** How the only backend is. */
  backend: "well" | "silent" | "gone" = "well";
  isRecovering = false;
  readonly classifier: Classifier;

  constructor() {
    const rules = parseRouting({ backends: ["b1"], pools: [], routes: ["default -> b1"] });
    this.classifier = new Classifier({
      core: this.#core() as unknown as Core,
      clock: { nowUs: () => this.nowUs, wallMs: () => 0 },
      router: createRouter(rules),
      headLimitUs: LIMIT_US,
      context: (client) => ({
        clientAddress: client.join("."),
        usable: () => this.backend === "well",
        mayReturn: () => this.backend === "silent",
        load: () => 0,
      }),
      isRecovering: () => this.isRecovering,
      move: (request, done) => this.moves.push({ request, done }),
      rejected: (_tuple, reason) => this.calls.push(`rejected: ${reason}`),
    });
  }

  event(kind: CoreEvent["kind"]): void {
    const none = { code: 0, ownerPeer: 0, ownerFlow: 0, sndNxt: 0, tsVal: 0 };
    this.classifier.handleEvent({ kind, handle: HANDLE, tuple: TUPLE, ...none });
  }

  read(text: string): void {
    this.unread = new TextEncoder().encode(text);
    this.event("readable");
  }

  /** Moves time and does what is due by then. */
  pass(us: number): void {
    this.nowUs += us;
    if (this.classifier.nextTimeoutUs() <= this.nowUs) this.classifier.handleTimeout();
  }

  #core() {
    return {
      memory: {
        subarray: () => this.unread,
        set: (bytes: Uint8Array) => (this.written += new TextDecoder().decode(bytes)),
      },
      readable: () => ({ ptr: 0, len: this.unread.length }),
      readableLength: () => this.unread.length,
      consume: () => (this.unread = new Uint8Array(0)),
      reserve: () => ({ ptr: 0, len: 65_536 }),
      commit: () => undefined,
      shutdown: () => this.calls.push("shutdown"),
      abort: () => this.calls.push("abort"),
      release: () => this.calls.push("release"),
    };
  }
}

classifier("answers 408 when the head's time is over, and not before", () => {
  const stage = new Stage();
  stage.event("accepted");
  stage.read("GET / HTTP/1.1\r\n");
  stage.pass(LIMIT_US - 1);
  assert.is(stage.written, "");
  stage.pass(1);
  assert.match(stage.written, /^HTTP\/1\.1 408 /);
  assert.is(stage.classifier.counters.expired, 1);
});

classifier("gives a connection its whole time whatever had its handle before", () => {
  const stage = new Stage();
  stage.event("accepted");
  stage.read("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
  assert.is(stage.moves.length, 1);
  stage.moves[0]?.done("moved");
  stage.pass(LIMIT_US - 1000);
  stage.event("accepted"); // a thousand connections later: generations have wrapped
  stage.pass(1000);
  assert.equal([stage.written, stage.classifier.counters.expired], ["", 0]);
  stage.pass(LIMIT_US - 1001);
  assert.is(stage.written, "");
  stage.pass(1);
  assert.match(stage.written, /^HTTP\/1\.1 408 /);
});

classifier("frees a connection that ended before it moved, and not one that moved", () => {
  for (const outcome of ["lost", "moved"] as const) {
    const stage = new Stage();
    stage.event("accepted");
    stage.read("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    stage.event("closed");
    stage.moves[0]?.done(outcome);
    assert.equal(stage.calls, outcome === "lost" ? ["release"] : []);
    assert.is(stage.classifier.size, 0);
  }
});

classifier("gives a client its whole time to close, whatever had its handle before", () => {
  const stage = new Stage();
  stage.event("accepted");
  stage.pass(LIMIT_US);
  assert.is(stage.calls.at(-1), "shutdown");
  stage.event("closed");
  stage.pass(1_000_000);
  assert.is(stage.calls.at(-1), "release");
  stage.nowUs += 900_000;
  stage.event("accepted");
  stage.read("GET / HTTP/1.0\r\nHost : x\r\n\r\n"); // 400, and two seconds from now on
  stage.pass(200_000);
  assert.is(stage.calls.at(-1), "shutdown", "the first one's two seconds are not this one's");
  stage.pass(1_800_000);
  assert.equal(stage.calls.slice(-2), ["abort", "release"]);
});

const GET = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

classifier(
  "keeps a connection while its backends are only silent, and moves it when one is back",
  () => {
    const stage = new Stage();
    stage.backend = "silent";
    stage.event("accepted");
    stage.read(GET);
    for (let ms = 0; ms < 1_200; ms += 100) stage.pass(100_000);
    assert.equal([stage.moves.length, stage.written, stage.calls], [0, "", []]);
    stage.backend = "well";
    stage.pass(100_000);
    assert.is(stage.moves.length, 1);
    stage.moves[0]!.done("moved");
    assert.is(stage.classifier.size, 0);
  },
);

classifier("answers 503 when nobody was back within 1.5 s, and at once when nobody will be", () => {
  for (const [backend, leastUs] of [
    ["silent", 1_400_000],
    ["gone", 0],
  ] as const) {
    const stage = new Stage();
    stage.backend = backend;
    stage.event("accepted");
    stage.read(GET);
    const startUs = stage.nowUs;
    while (stage.written === "" && stage.nowUs < startUs + 3_000_000) stage.pass(10_000);
    assert.match(stage.written, "503 Service Unavailable", backend);
    const tookUs = stage.nowUs - startUs;
    assert.ok(leastUs <= tookUs && tookUs <= leastUs + 110_000, `${backend}: after ${tookUs} us`);
  }
});

classifier("tries again for 1.5 s when nobody took the connection", () => {
  const stage = new Stage();
  stage.event("accepted");
  stage.read(GET);
  let tries = 0;
  while (stage.written === "" && tries < 100) {
    stage.moves[tries++]?.done("unavailable");
    stage.pass(100_000);
  }
  assert.ok(10 < tries && tries < 20, `${tries} tries`);
  assert.match(stage.written, "503 Service Unavailable");
});

classifier("keeps a connection while its forwarder is away, for 10 s at most", () => {
  for (const [awayMs, isAnswered] of [
    [8_000, false],
    [20_000, true],
  ] as const) {
    const stage = new Stage();
    stage.event("accepted");
    stage.read(GET);
    const startUs = stage.nowUs;
    while (stage.nowUs < startUs + awayMs * 1000 && stage.written === "") {
      stage.moves.at(-1)?.done("unasked");
      stage.pass(100_000);
    }
    const tookUs = stage.nowUs - startUs;
    assert.is(stage.written !== "", isAnswered);
    if (isAnswered) assert.ok(9_800_000 < tookUs && tookUs <= 10_100_000, `after ${tookUs} us`);
    // Once it can be asked again, backends have their 1.5 s.
    const backUs = stage.nowUs;
    while (stage.written === "") {
      stage.moves.at(-1)?.done("unavailable");
      stage.pass(100_000);
    }
    const keptUs = stage.nowUs - backUs;
    assert.ok(isAnswered || (1_300_000 < keptUs && keptUs < 1_600_000), `${keptUs} us more`);
    assert.match(stage.written, "503 Service Unavailable");
  }
});

classifier("keeps a connection while its forwarder recovers, then 1.5 s for its backends", () => {
  const stage = new Stage();
  stage.backend = "silent";
  stage.isRecovering = true;
  stage.event("accepted");
  stage.read(GET);
  for (let ms = 0; ms < 3_000; ms += 100) stage.pass(100_000);
  assert.equal([stage.written, stage.classifier.size], ["", 1]);
  stage.isRecovering = false;
  for (let ms = 0; ms < 1_300; ms += 100) stage.pass(100_000);
  assert.is(stage.written, "");
  stage.backend = "well";
  stage.pass(100_000);
  assert.is(stage.moves.length, 1);
  const never = new Stage();
  never.backend = "silent";
  never.isRecovering = true;
  never.event("accepted");
  never.read(GET);
  for (let ms = 0; ms < 9_800; ms += 100) never.pass(100_000);
  assert.is(never.written, "");
  for (let ms = 0; ms < 300; ms += 100) never.pass(100_000);
  assert.match(never.written, "503 Service Unavailable", "10 s at most");
});

classifier("forgets a connection that ended while it waited, or while it was to move", () => {
  const waits = new Stage();
  waits.backend = "silent";
  waits.event("accepted");
  waits.read(GET);
  waits.event("closed");
  assert.equal([waits.classifier.size, waits.calls.at(-1)], [0, "release"]);
  waits.backend = "well";
  waits.pass(2_000_000);
  assert.is(waits.moves.length, 0);
  const moves = new Stage();
  moves.event("accepted");
  moves.read(GET);
  moves.event("closed");
  moves.moves[0]!.done("unavailable");
  assert.equal([moves.classifier.size, moves.calls.at(-1)], [0, "release"]);
});

classifier("reads what a connection that arrived had received before", () => {
  const stage = new Stage();
  stage.unread = new TextEncoder().encode(GET);
  stage.classifier.arrive(HANDLE, TUPLE, false);
  assert.is(stage.moves[0]?.request.head.protocol, "http");
  const ended = new Stage();
  ended.classifier.arrive(HANDLE, TUPLE, true);
  assert.equal([ended.classifier.size, ended.calls.includes("shutdown")], [0, true]);
});

classifier.run();
