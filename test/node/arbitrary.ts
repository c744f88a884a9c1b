/** fast-check generators of every message: each field over its whole range. */
import fc from "fast-check";
import type { Tuple } from "../../host/core/tuple.ts";
import {
  DENY_REASONS,
  RECORD_STATES,
  REFUSE_REASONS,
  RELEASE_CAUSES,
  VERDICTS,
} from "../../host/node/messages.ts";
import { REASON_MAX, REMAINING_MAX, type RemainingItem } from "../../host/node/drainage.ts";
import type { FarConnection, Message, ResetData, SyncItem } from "../../host/node/messages.ts";

/** Plain objects, as the decoder builds them. */
const shape = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(model, { noNullPrototype: true });

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const count = fc.maxSafeNat();
const half = fc.integer({ min: 1, max: 0xffff });
const hex = (length: number) =>
  fc
    .uint8Array({ minLength: length, maxLength: length })
    .map((bytes) => Buffer.from(bytes).toString("hex"));
const nodeId = hex(8);
const epoch = hex(16);
const flow = fc.tuple(half, half).map(([high, low]) => high * 0x10000 + low);
const flowOrNone = fc.oneof(fc.constant(0), flow);
const bytes = fc.uint8Array({ maxLength: 3000 });

export const tuple: fc.Arbitrary<Tuple> = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) => {
    const length = family === 4 ? 4 : 16;
    const address = fc.uint8Array({ minLength: length, maxLength: length });
    return shape({
      family: fc.constant(family),
      remote: address,
      remotePort: half,
      local: address,
      localPort: half,
    });
  });
const reset: fc.Arbitrary<ResetData> = shape({
  sndUna: u32,
  sndNxt: u32,
  rcvNxt: u32,
  timestamps: fc.option(shape({ tsVal: u32, tsEcr: u32 }), { nil: undefined }),
});
const connection: fc.Arbitrary<FarConnection> = shape({ tuple, reset });
const maybeConnection = fc.option(connection, { nil: undefined });
const hint = fc.option(shape({ sndNxt: u32, tsVal: u32 }), { nil: undefined });
const slice = fc.option(fc.integer({ min: 0, max: 15 }), { nil: undefined });
const record = fc.constantFrom(...RECORD_STATES);
const type = <T extends string>(name: T) => fc.constant(name);
const items = <T>(item: fc.Arbitrary<T>) => fc.array(item, { maxLength: 24 });

const syncItem: fc.Arbitrary<SyncItem> = shape({
  flow: flowOrNone,
  record,
  generation: u32,
  connection: maybeConnection,
  next: fc.option(shape({ flow, target: nodeId, targetEpoch: epoch }), { nil: undefined }),
});

const epochs = { forwarderEpoch: epoch, targetEpoch: epoch };

/** One generator for each message type. */
export const messages: { readonly [T in Message["type"]]: fc.Arbitrary<Message & { type: T }> } = {
  reserve: shape({
    type: type("reserve"),
    flow: flowOrNone,
    attempt: u32,
    tuple,
    target: shape({ kind: fc.constantFrom("node" as const, "pool" as const), id: nodeId }),
  }),
  grant: shape({ type: type("grant"), flow, attempt: u32, target: nodeId, ...epochs }),
  deny: shape({
    type: type("deny"),
    attempt: u32,
    reason: fc.constantFrom(...DENY_REASONS),
  }),
  abandon: shape({ type: type("abandon"), flow }),
  move: shape({
    type: type("move"),
    flow,
    previous: flowOrNone,
    tuple,
    reset,
  }),
  blob: shape({
    type: type("blob"),
    flow,
    forwarder: nodeId,
    ...epochs,
    generation: u32,
    source: nodeId,
    sourceEpoch: epoch,
    tuple,
    reset,
    pool: nodeId,
    routing: fc.constantFrom("connection" as const, "request" as const),
    blob: bytes,
  }),
  cancel: shape({ type: type("cancel"), flow }),
  accept: shape({ type: type("accept"), flow, ...epochs }),
  refuse: shape({
    type: type("refuse"),
    flow,
    ...epochs,
    reason: fc.constantFrom(...REFUSE_REASONS),
    connection: maybeConnection,
  }),
  resolve: shape({ type: type("resolve"), flow, ...epochs }),
  gone: shape({ type: type("gone"), flow, ...epochs, currentEpoch: epoch }),
  verdict: shape({
    type: type("verdict"),
    flow,
    forwarderEpoch: epoch,
    verdict: fc.constantFrom(...VERDICTS),
    relayed: count,
  }),
  forget: shape({ type: type("forget"), flow, forwarderEpoch: epoch }),
  forgotten: shape({ type: type("forgotten"), flow, forwarderEpoch: epoch, record }),
  release: shape({
    type: type("release"),
    items: items(shape({ flow: flowOrNone, cause: fc.constantFrom(...RELEASE_CAUSES), tuple })),
  }),
  handback: shape({
    type: type("handback"),
    flow,
    record,
    tuple: fc.option(tuple, { nil: undefined }),
    hint,
    packet: bytes,
  }),
  query: shape({ type: type("query"), items: items(shape({ flow: flowOrNone, tuple })) }),
  answer: shape({ type: type("answer"), items: items(shape({ flow: flowOrNone, record, tuple })) }),
  hello: shape({ type: type("hello"), forwarderEpoch: epoch, slice }),
  sync: fc
    .record({
      type: type("sync"),
      forwarderEpoch: epoch,
      bootEpoch: epoch,
      part: u16,
      more: fc.integer({ min: 1, max: 9 }),
      slice,
      items: items(syncItem),
    })
    .map(({ more, ...rest }) => ({ ...rest, parts: rest.part + more })),
  dead: shape({ type: type("dead"), bootEpoch: epoch }),
  heartbeat: shape({
    type: type("heartbeat"),
    sequence: u32,
    draining: fc.boolean(),
    serving: fc.boolean(),
    load: u32,
    credits: u32,
    blobVersionMin: u16,
    blobVersionMax: u16,
    mtu: u32,
  }),
  relay: shape({
    type: type("relay"),
    asked: u32,
    order: count,
    isOvertaken: fc.boolean(),
    hint,
    packet: bytes,
  }),
  census: shape({
    type: type("census"),
    items: items(shape({ node: nodeId, usable: fc.boolean(), mayReturn: fc.boolean(), load: u32 })),
  }),
  icmp: shape({ type: type("icmp"), flow, tuple, packet: bytes }),
  drain: shape({ type: type("drain"), on: fc.boolean() }),
  progress: shape({
    type: type("progress"),
    on: fc.boolean(),
    open: u32,
    moving: u32,
    moved: u32,
    lost: u32,
    remaining: fc.array(
      shape<RemainingItem>({
        reason: fc.string({ unit: "grapheme-ascii", maxLength: REASON_MAX }),
        count: u32,
        isFinal: fc.boolean(),
      }),
      { maxLength: REMAINING_MAX },
    ),
  }),
};

export const anyMessage: fc.Arbitrary<Message> = fc.oneof(...Object.values(messages));
