/**
 * Packet capture in a node, without tcpdump: to a pcapng file, or packet by packet to a callback. Knows
 * the sniffer process and its output; must not know what a test looks for.
 */
import { resolve as resolvePath } from "node:path";
import { fileURLToPath } from "node:url";
import { BatonError } from "../errors.ts";
import type { LabNode } from "./lab.ts";
import { parsePacket, type Packet } from "./packet.ts";
import { PcapngReader, type Frame } from "../observe/pcapng.ts";
import type { SnifferOptions } from "./sniffer.ts";

const SNIFFER = fileURLToPath(new URL("./sniffer.js", import.meta.url));
const SNAP_MAX = 1 << 18;
const RING_BYTES = 64 << 20;

export interface CaptureOptions {
  /** Default: eth0; on the router, which has one device for each node, every device. */
  readonly device?: string;
  /** Bytes to keep of each packet; default all. A checksum of a cut packet is "unknown". */
  readonly snapLen?: number;
  /** Memory for packets that wait; default 64 MiB. */
  readonly ringBytes?: number;
}

export interface CapturedPacket extends Packet {
  /** Milliseconds since 1970, with fractions. */
  readonly time: number;
  readonly device: string;
  readonly direction: Frame["direction"];
  /** From the IP header on, as far as captured. */
  readonly bytes: Uint8Array;
}

export interface CaptureSummary {
  readonly packets: number;
  /** Packets for which there was no room: a test that counts packets wants 0. */
  readonly dropped: number;
}

export interface Capture {
  /** Everything that passed until now is delivered when the promise settles. */
  stop(): Promise<CaptureSummary>;
}

/**
 * Resolves when the capture runs: no packet sent after that is missed.
 * @param sink the path of a pcapng file, or a function that gets every IP packet
 */
export function startCapture(
  node: LabNode,
  sink: string | ((packet: CapturedPacket) => void),
  options: CaptureOptions = {},
): Promise<Capture> {
  const device = options.device ?? node.plan?.device;
  const sniffer: SnifferOptions = {
    ...(device === undefined ? {} : { device }),
    ...(typeof sink === "string" ? { file: resolvePath(sink) } : {}),
    snapLen: options.snapLen ?? SNAP_MAX,
    ringBytes: options.ringBytes ?? RING_BYTES,
  };
  const args = ["--enable-source-maps", SNIFFER, JSON.stringify(sniffer)];
  const child = node.exec(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let stderr = "";
    let summary: CaptureSummary | undefined;
    let failure: unknown;
    const names: string[] = [];
    const ended = new Promise<CaptureSummary>((settle, fail) => {
      child.once("close", (status) => {
        const got = lastLine(stderr) || `exit status ${status}`;
        const error = failure ?? captureError(node, `expected it to run, got ${got}`);
        if (summary === undefined || failure !== undefined) fail(error as Error);
        else settle(summary);
      });
    });
    ended.catch(reject); // Before the start; afterwards `stop` tells.
    const stop = (): Promise<CaptureSummary> => {
      child.stdin?.end();
      return ended;
    };
    const reader = new PcapngReader({
      onStart: () => resolve({ stop }),
      onInterface: (index, name) => (names[index] = name),
      onFrame: (frame) => {
        const packet = describe(frame, names);
        if (packet !== undefined && typeof sink === "function") sink(packet);
      },
      onStatistics: (packets, dropped) => (summary = { packets, dropped }),
    });
    child.once("error", reject);
    child.stdin?.on("error", () => undefined); // EPIPE: "close" tells.
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdout?.on("data", (chunk: Buffer) => {
      try {
        if (failure === undefined) reader.push(chunk);
      } catch (error) {
        failure = error; // The sink's or the format's; `stop` reports it.
        child.stdin?.end();
      }
    });
  });
}

function describe(frame: Frame, names: readonly string[]): CapturedPacket | undefined {
  const packet = parsePacket(frame.bytes);
  if (packet === undefined) return undefined;
  return {
    ...packet,
    time: frame.seconds * 1000 + frame.nanoseconds / 1e6,
    device: names[frame.interface] ?? "",
    direction: frame.direction,
    bytes: frame.bytes,
  };
}

function lastLine(text: string): string {
  return /^\w*Error: .*$/m.exec(text)?.[0] ?? text.trim().split("\n").pop() ?? "";
}

function captureError(node: LabNode, message: string): BatonError {
  return new BatonError("ERR_BATON_CAPTURE", `capture on ${node.name}: ${message}`);
}
