/**
 * The forwarder's and the node's packet path: packets of random flows out of very many, every check of the
 * product in place. Knows tables and batches; must not know how packets are made (traffic.ts).
 *
 * Is it fair beside C (forward.c)? Both draw the same packets from the same seed, just before they meet them, into
 * slots at the same distances, and only the call that handles a batch is timed. That leaves packets and descriptors in
 * the first-level cache on both sides, but no line of a table: a place in it follows from a keyed hash of a flow that
 * was drawn from all of them, and no draw is repeated, so that a line is warm by chance alone, with the same chance. C
 * has the same entries, the same load, the same first slot, pages of the same size, and every check. It does without
 * what a call from JavaScript and a core that is built for all processors cost. Both sides make a digest of all that
 * they forwarded: it has to be the same. They take turns, round by round, and each figure is the median of its rounds.
 */
import { isWorthIt } from "../../host/daemon/pages.ts";
import { adviseHugePages, coveredByHugePages } from "../../host/linux/huge.ts";
import { type TestCore, openCore } from "../../test/support/core.ts";
import { fill, initCore, setTuple, withAddress } from "../../test/support/batch.ts";
import {
  OWN,
  PEER,
  SERVICE,
  SERVICE_PORT,
  Traffic,
  client,
  clientAddress,
  flowOf,
  type TrafficOptions,
} from "./traffic.ts";
import { median } from "./wire.ts";

/** Of one round. */
const PACKETS = 1 << 16;
/** Until the figures of a million flows hold still: some two packets for each of them. */
const ROUNDS_UNTIMED = 16;

export interface EncapOptions extends TrafficOptions {
  /** The tables in huge pages where a daemon of so many flows would have them so by default. */
  readonly huge: boolean;
}

/** One round. */
export interface Handled {
  /** Nanoseconds a packet: the median over batches, which other load on the machine moves least. */
  readonly ns: number;
  /** Of all packets as they left. */
  readonly digest: number;
}

export interface Handler {
  round(seed: number, singly: boolean): Handled | Promise<Handled>;
}

/** Nanoseconds a packet. */
export interface EncapResult {
  readonly batched: number;
  readonly singly: number;
}

/**
 * Medians of rounds in which all handlers take turns, each in batches and one by one. The batches of the first meet
 * the same packets as the others' one by one; nobody meets a sequence twice, or it would be in the caches.
 */
export async function compare(
  handlers: readonly Handler[],
  rounds: number,
): Promise<EncapResult[]> {
  const seen = handlers.map(() => ({ batched: [] as number[], singly: [] as number[] }));
  for (let round = -ROUNDS_UNTIMED; round < rounds; round++) {
    const digests = new Map<number, number>();
    for (const singly of [false, true]) {
      for (const [at, handler] of handlers.entries()) {
        const isSecond = singly !== at > 0;
        const seed = seedOf(round * 2 + (isSecond ? 1 : 0));
        const { ns, digest } = await handler.round(seed, singly);
        if ((digests.get(seed) ?? digest) !== digest) {
          throw new Error(`handlers differ about the packets of seed ${seed}`);
        }
        digests.set(seed, digest);
        if (round >= 0) seen[at]![singly ? "singly" : "batched"].push(ns);
      }
    }
  }
  return seen.map(({ batched, singly }) => ({ batched: median(batched), singly: median(singly) }));
}

/** Far apart: a sequence is a counter, mixed. */
function seedOf(turn: number): number {
  return Math.imul(turn, 0x632be5ab) | 0;
}

/** The core with all flows in its tables. */
export class CoreHandler implements Handler {
  readonly #core: TestCore;
  readonly #traffic: Traffic;
  readonly #slots: readonly number[];

  constructor(options: EncapOptions) {
    this.#core = prepare(options);
    this.#traffic = new Traffic(options);
    const size = this.#core.constant("BATCH_MAX");
    fill(
      this.#core,
      Array.from({ length: size }, () => this.#traffic.template),
    );
    const ptr = this.#core.constant("DescriptorOff.PTR");
    this.#slots = this.#descriptors.map((at) => this.#core.view.getUint32(at + ptr, true));
  }

  get #descriptors(): number[] {
    const base = this.#core.f.rxBatchPtr!();
    const stride = this.#core.constant("DESCRIPTOR_SIZE");
    const size = this.#core.constant("BATCH_MAX");
    return Array.from({ length: size }, (_, index) => base + index * stride);
  }

  round(seed: number, singly: boolean): Handled {
    const { view, bytes } = this.#core;
    const handle = this.#core.f[singly ? "handlePacketsSingly" : "handlePackets"]!;
    const size = this.#slots.length;
    const { length } = this.#traffic.template;
    const lengthOff = this.#core.constant("DescriptorOff.LEN");
    const lengths = this.#descriptors.map((at) => at + lengthOff);
    const times: number[] = [];
    let digest = 0;
    this.#traffic.begin(seed);
    for (let at = 0; at < PACKETS; at += size) {
      for (let index = 0; index < size; index++) {
        this.#traffic.next(bytes, view, this.#slots[index]!);
        view.setUint32(lengths[index]!, length, true);
      }
      const start = process.hrtime.bigint();
      const left = handle(size, 2e6);
      times.push(Number(process.hrtime.bigint() - start) / size);
      if (left !== size) throw new Error(`${left} of ${size} packets have an open verdict`);
      for (const slot of this.#slots) digest = digestOf(view, slot, length, digest);
    }
    return { ns: median(times), digest: digest >>> 0 };
  }
}

function digestOf(view: DataView, ptr: number, length: number, digest: number): number {
  let sum = digest;
  for (let at = ptr; at < ptr + length; at += 4) {
    sum = Math.imul(sum ^ view.getUint32(at, true), 0x01000193);
  }
  return sum;
}

function prepare({ family, decapsulate, flows, huge }: EncapOptions): TestCore {
  const core = openCore("release");
  const initialised = initCore(core, {
    mappings4Max: family === 4 && !decapsulate ? flows : 1,
    mappings6Max: family === 6 && !decapsulate ? flows : 1,
    recordsMax: decapsulate ? flows : 1,
    slotBytes: 2048,
  });
  if (initialised !== 0) throw new Error(`init returned ${initialised}`);
  if (huge) adviseTables(core, flows);
  withAddress(core, OWN[family], core.f.tunnelSet!);
  withAddress(core, PEER[family], (f, ptr) => core.f.peerSet!(1, f, ptr));
  withAddress(core, SERVICE[family], (f, ptr) => core.f.serviceAdd!(f, ptr, SERVICE_PORT, 0, 0));
  for (let index = 0; index < flows; index++) {
    const remotePort = client(index).port;
    setTuple(core, {
      remote: clientAddress(index, family),
      remotePort,
      local: SERVICE[family],
      localPort: SERVICE_PORT,
    });
    const flow = flowOf(index);
    const set = decapsulate
      ? core.f.recordSet!(1, flow, 1, 1e6) || core.f.recordSet!(1, flow, 3, 1e6)
      : core.f.mapSet!(1, 1, flow);
    if (set !== 0) throw new Error(`flow ${index}: ${set}`);
  }
  return core;
}

/**
 * Asks for huge pages for tables that will hold so many entries, as a daemon does once they do (host/daemon/pages.ts):
 * before anything is in them, which comes to the same as to gather them then.
 */
function adviseTables(core: TestCore, entries: number): void {
  for (const name of ["MAPPINGS4", "MAPPINGS6", "RECORDS"]) {
    if (core.f.tableSpan!(core.constant(`Usage.${name}`)) !== 0)
      throw new Error(`no table ${name}`);
    const span = core.f.spanPtr!();
    const [ptr, len] = [core.view.getUint32(span, true), core.view.getUint32(span + 4, true)];
    if (!isWorthIt(entries, len)) continue;
    adviseHugePages(coveredByHugePages(core.bytes, core.bytes.subarray(ptr, ptr + len)));
  }
}
