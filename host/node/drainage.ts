/**
 * The two messages by which a backend is emptied, and their bytes: DRAIN, the forwarder's order, and PROGRESS,
 * the backend's answer as long as it holds. Knows layouts (docs/messages.md); must not know what is moved.
 */
import type { Reader, Writer } from "./bytes.ts";
import { readItems, writeItems } from "./fields.ts";

export interface DrainMessage {
  readonly type: "drain";
  /** False: take connections again. */
  readonly on: boolean;
}

/** Connections that are still here for the same reason. */
export interface RemainingItem {
  readonly reason: string;
  readonly count: number;
  /** Their application will never move them. */
  readonly isFinal: boolean;
}

export interface ProgressMessage {
  readonly type: "progress";
  readonly on: boolean;
  readonly open: number;
  readonly moving: number;
  /** Since the drain began. */
  readonly moved: number;
  readonly lost: number;
  readonly remaining: readonly RemainingItem[];
}

/** Reasons in one message, and the characters of each, printable ASCII. */
export const REMAINING_MAX = 9;
export const REASON_MAX = 80;

export function writeDrain(to: Writer, message: DrainMessage): void {
  to.u32(message.on ? 1 : 0);
}

export function readDrain(from: Reader): DrainMessage {
  return { type: "drain", on: readFlag(from) };
}

export function writeProgress(to: Writer, message: ProgressMessage): void {
  to.u32(message.on ? 1 : 0);
  to.u32(message.open);
  to.u32(message.moving);
  to.u32(message.moved);
  to.u32(message.lost);
  writeItems(to, message.remaining, ({ reason, count, isFinal }) => {
    to.u32(count);
    to.u32(isFinal ? 1 : 0);
    to.u32(reason.length);
    to.raw(Uint8Array.from(reason, (character) => character.charCodeAt(0)));
  });
}

export function readProgress(from: Reader): ProgressMessage {
  return {
    type: "progress",
    on: readFlag(from),
    open: from.u32(),
    moving: from.u32(),
    moved: from.u32(),
    lost: from.u32(),
    remaining: readItems(from, REMAINING_MAX, 12, () => readRemaining(from)),
  };
}

function readRemaining(from: Reader): RemainingItem {
  const count = from.u32();
  const isFinal = readFlag(from);
  const length = from.u32();
  from.check(length <= REASON_MAX);
  const bytes = from.ok ? from.raw(length) : new Uint8Array(0);
  from.check(bytes.every((byte) => byte >= 0x20 && byte < 0x7f));
  return { reason: String.fromCharCode(...bytes), count, isFinal };
}

/** A reason as a message takes it: what is no printable ASCII becomes "?". */
export function wireReason(reason: string): string {
  return reason.replace(/[^\x20-\x7e]/g, "?").slice(0, REASON_MAX);
}

function readFlag(from: Reader): boolean {
  const value = from.u32();
  from.check(value <= 1);
  return value === 1;
}
