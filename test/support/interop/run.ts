/**
 * Runs rows of the matrix on a bed and says what is wrong with each. Knows bed, clients and table; must not
 * know which rows there are.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Capture } from "../../../host/lab/capture.ts";
import type { LabNode } from "../../../host/lab/lab.ts";
import { SMALL_BUFFER, type Bed } from "./bed.ts";
import { isAbrupt, Sockets } from "./sockets.ts";
import { bytesOf, nameOf, talkOf, type Row } from "./table.ts";
import { commandOf, judge, prepare, type Call } from "./talks.ts";

const LIMIT_SECONDS = 60;
/** Beyond what a client takes for itself. */
const KILL_MS = 5_000;
/** After the client's own sockets are closed: a lost segment or two, and the upstream's end. */
const END_LIMIT_MS = 30_000;
const POLL_MS = 20;
const WRK_BYTES_MAX = 16_384;
const FIXED_SECONDS = 2;
const SEED = Number(process.env["BATON_SEED"] ?? 1);
/** Where captures of both sides of every row go. */
const CAPTURES = process.env["BATON_CAPTURES"];
const SNAP_BYTES = 200;

export interface Outcome {
  readonly row: Row;
  readonly name: string;
  readonly complaints: readonly string[];
  /** Right bytes in a second: over our stack, over the kernel's. */
  readonly rate: number;
  readonly kernelRate?: number;
  readonly seconds: number;
}

/** Runs a row from `client`; with `other`, the same over the kernel's stack from there, at the same time. */
export async function runRow(
  bed: Bed,
  row: Row,
  index: number,
  client: LabNode,
  other?: LabNode,
): Promise<Outcome> {
  const { server } = talkOf(row);
  const startedMs = performance.now();
  // One client at a time is all that these servers take.
  const isAlone = server === "iperf3" || server === "s_server";
  const run = (on: LabNode, isKernel: boolean): Promise<Ran> => {
    const once = (): Promise<Ran> => runOnce(bed, row, index, on, isKernel);
    return isAlone ? bed.alone(server, once) : once();
  };
  const [ours, theirs] = await Promise.all([run(client, false), other && run(other, true)]);
  return {
    row,
    name: nameOf(row),
    complaints: [
      ...ours.complaints,
      ...(theirs?.complaints ?? []).map((text) => `kernel's: ${text}`),
    ],
    rate: ours.bytes / ours.seconds,
    ...(theirs === undefined ? {} : { kernelRate: theirs.bytes / theirs.seconds }),
    seconds: (performance.now() - startedMs) / 1000,
  };
}

interface Ran {
  readonly complaints: readonly string[];
  readonly bytes: number;
  readonly seconds: number;
}

async function runOnce(
  bed: Bed,
  row: Row,
  index: number,
  client: LabNode,
  isKernel: boolean,
): Promise<Ran> {
  const { talk, server } = talkOf(row);
  const bytes = talk.tool === "wrk" ? Math.min(bytesOf(row) >> 3, WRK_BYTES_MAX) : bytesOf(row);
  const folder = join(bed.folder, `row-${index}${isKernel ? "-kernel" : ""}`);
  mkdirSync(folder);
  const call: Call = {
    ...bed.target(row, talk, server, isKernel),
    talk,
    bytes,
    folder,
    limitSeconds: LIMIT_SECONDS,
    runSeconds: FIXED_SECONDS + Math.ceil((row.delayMs * 20) / 1000),
    receiveBuffer: row.window === "segment" ? SMALL_BUFFER : 0,
    python: bed.python,
    certificates: bed.certificates,
  };
  await prepare(call);
  if (server === "s_server") await bed.publish(bytes);
  await bed.shape(client, row, index);
  const box = await bed.impair(client, row, SEED + index);
  const endCaptures = await capture(bed, row, client, isKernel);
  try {
    const before = await Sockets.read(client);
    const startedMs = performance.now();
    const [program, ...words] = commandOf(call);
    const ran = await client.run(program, words, {
      cwd: folder,
      timeoutMs: LIMIT_SECONDS * 1000 + KILL_MS,
    });
    const seconds = (performance.now() - startedMs) / 1000;
    const verdict = judge(call, ran);
    const complaints = [...verdict.complaints];
    if (!isKernel) {
      // The kernel's server may reset: of a TLS client that answers close_notify, for one.
      complaints.push(...(await before.complaints(client, row)));
      if (!isAbrupt(talk)) complaints.push(...(await endings(bed, client, index)));
      const { handed } = bed.reports(client, index);
      if (handed === 0) complaints.push("no connection was handed to a backend");
    }
    return { complaints, bytes: verdict.bytes, seconds };
  } finally {
    await endCaptures();
    await box?.close();
    rmSync(folder, { recursive: true });
  }
}

/** How a row's connections ended that are to end in order; waits until every backend has said so. */
async function endings(bed: Bed, client: LabNode, index: number): Promise<string[]> {
  const endMs = performance.now() + END_LIMIT_MS;
  for (;;) {
    const { open, failures } = bed.reports(client, index);
    if (open.length === 0 || performance.now() > endMs) {
      return [
        ...failures,
        ...open.map((end) => `${end}: expected an end at the backend, got none`),
      ];
    }
    await wait(POLL_MS);
  }
}

/** Of both sides, where BATON_CAPTURES names a folder; returns the way to end them. */
async function capture(
  bed: Bed,
  row: Row,
  client: LabNode,
  isKernel: boolean,
): Promise<() => Promise<void>> {
  if (CAPTURES === undefined) return () => Promise.resolve();
  mkdirSync(CAPTURES, { recursive: true });
  const name = nameOf(row).replaceAll(/[^\w.]+/g, "-") + (isKernel ? "-kernel" : "");
  const running: Capture[] = [];
  for (const node of [client, bed.nodeOf(talkOf(row).server)]) {
    const file = join(CAPTURES, `${name}.${node.name}.pcapng`);
    running.push(await bed.lab.capture(node.name, file, { snapLen: SNAP_BYTES }));
  }
  return async () => {
    for (const each of running) await each.stop();
  };
}
