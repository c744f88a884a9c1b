import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseAddress } from "../../host/core/address.ts";
import { coreBuild } from "../../host/core/builds.ts";
import { Core } from "../../host/core/core.ts";
import { SMALL_PARAMETERS, type CoreParameters } from "../../host/core/parameters.ts";
import { tupleKey, type Tuple } from "../../host/core/tuple.ts";
import { BatonError } from "../../host/errors.ts";
import { buildTcp, option, parseTcp, SYN } from "../support/packet.ts";

const core = suite("core");

const WASM = readFileSync(new URL("../../core.wasm", import.meta.url));

function open(changes: Partial<CoreParameters> = {}): Core {
  const secret = new Uint8Array(16).fill(7);
  const secrets = { hashSecret: secret, isnSecret: secret, wallMs: 1_767_225_600_000 };
  return new Core(WASM, { ...SMALL_PARAMETERS, ...secrets, ...changes }, 1);
}

const bytes = (address: string): Uint8Array => parseAddress(address) ?? new Uint8Array();

function tuple(service: string): Tuple {
  const isV6 = service.includes(":");
  return {
    family: isV6 ? 6 : 4,
    remote: bytes(isV6 ? "fd01::2" : "10.1.0.2"),
    remotePort: 40_000,
    local: bytes(service),
    localPort: 80,
  };
}

function refuses(action: () => unknown, message: RegExp): void {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof BatonError, String(error));
    assert.is(error.code, "ERR_BATON_CORE");
    assert.match(error.message, message);
    return;
  }
  assert.unreachable("expected a BatonError");
}

core("takes the build with SIMD where the runtime has it, else the baseline", () => {
  assert.is(coreBuild(), "core.wasm");
  const { validate } = WebAssembly;
  WebAssembly.validate = () => false;
  try {
    assert.is(coreBuild(), "core-baseline.wasm");
  } finally {
    WebAssembly.validate = validate;
  }
});

core("says what is wrong with a file that is no core", () => {
  const secret = new Uint8Array(16);
  const parameters = { ...SMALL_PARAMETERS, hashSecret: secret, isnSecret: secret, wallMs: 0 };
  refuses(() => new Core(Uint8Array.of(1, 2, 3), parameters, 1), /cannot be instantiated/);
  const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  refuses(() => new Core(empty, parameters, 1), /expected ABI version 1, got none/);
});

core("refuses parameters that no init could take", () => {
  refuses(() => open({ connectionsMax: -1 }), /connectionsMax: expected a u32, got -1/);
  refuses(() => open({ connectionsMax: 1.5 }), /connectionsMax/);
  refuses(() => open({ hashSecret: new Uint8Array(15) }), /expected 16 bytes, got 15/);
  refuses(() => open({ slotBytes: 10 }), /init: ARGUMENT/);
  refuses(() => open({ bufferBytes: 0xffffffff }), /init: (MEMORY|ARGUMENT)/);
});

core("keeps its views after init: memory never grows again", () => {
  const one = open();
  const before = one.memory.buffer;
  for (const service of ["10.0.0.100", "fd00::100"]) one.addService(bytes(service), 80, 0, true);
  assert.is(one.memory.buffer, before);
  assert.ok(one.memory.length > 0);
});

core("answers a SYN to a service with a SYN-ACK in the next poll", () => {
  const one = open();
  one.addService(bytes("10.0.0.100"), 80, 0, true);
  const syn = buildTcp({
    source: "10.1.0.2",
    destination: "10.0.0.100",
    sourcePort: 40_000,
    destinationPort: 80,
    seq: 4_294_967_295,
    flags: SYN,
    options: option.mss(1460),
  });
  assert.ok(one.rx.place(0, syn));
  assert.is(one.handlePackets(1, 10), 0, "nothing is left for the host to do");
  assert.is(one.rx.verdict(0), one.verdict["CONSUMED"]);
  assert.is(one.pollTransmit(10), 1);
  const reply = one.tx.memory.slice(one.tx.ptr(0), one.tx.ptr(0) + one.tx.len(0));
  assert.is(parseTcp(reply).ack, 0, "the sequence number wraps");
  assert.ok(parseTcp(reply).tcpChecksumOk);
  assert.ok(one.nextTimeoutUs() < Infinity, "the SYN-ACK is repeated");
});

core("keeps and walks mappings of both families by their 4-tuple", () => {
  const one = open();
  const wanted = new Map<string, Tuple>();
  for (const service of ["10.0.0.100", "fd00::100"]) {
    one.addService(bytes(service), 80, 0, true);
    wanted.set(tupleKey(tuple(service)), tuple(service));
  }
  one.setPeer(1, bytes("10.9.0.2"));
  for (const each of wanted.values()) assert.ok(one.mapSet(each, "forward", 1, 0x00070009));
  const seen: string[] = [];
  one.mapEach((found, info) => {
    assert.is(info.flow, 0x00070009);
    assert.is(info.peer, 1);
    seen.push(tupleKey(found));
  });
  assert.equal(seen.sort(), [...wanted.keys()].sort());
  for (const each of wanted.values()) one.mapDelete(each);
  assert.is(one.mapGet(tuple("10.0.0.100")), undefined);
});

core("refuses a blob that is none, and one longer than the work area", () => {
  const one = open({ blobBytes: 4096 });
  const mapping = {
    flow: 0x00010001,
    generation: 1,
    forwarder: "00".repeat(8),
    forwarderEpoch: "00".repeat(16),
    source: "00".repeat(8),
    sourceEpoch: "00".repeat(16),
    targetEpoch: "00".repeat(16),
  };
  const infuse = (blob: Uint8Array) => one.infuse(blob, mapping, tuple("10.0.0.100"), 1, 10);
  assert.is(infuse(new Uint8Array(512)), "BLOB_MALFORMED");
  assert.is(infuse(new Uint8Array(8192)), "FULL");
});

core("refuses a golden blob whose mapping or addresses are not the ones announced", () => {
  const golden = readFileSync(new URL("../../../test/fixtures/blob-v1-ipv4.bin", import.meta.url));
  const one = open();
  const mapping = {
    flow: 0x00010001,
    generation: 1,
    forwarder: "00".repeat(8),
    forwarderEpoch: "00".repeat(16),
    source: "00".repeat(8),
    sourceEpoch: "00".repeat(16),
    targetEpoch: "00".repeat(16),
  };
  const result = one.infuse(golden, mapping, tuple("10.0.0.100"), 1, 10);
  assert.is(result, "BLOB_INVARIANT");
  one.recordEach(() => assert.unreachable("nothing was installed"));
});

core("names errors and throws for handles that name nothing", () => {
  const one = open();
  assert.is(one.errorName(-4), "FULL");
  refuses(() => one.connectionInfo(12345), /connectionInfo: HANDLE/);
});

core.run();
