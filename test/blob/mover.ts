/**
 * Moves connections between test cores by their blobs. Knows the ABI's migration calls; must not know what a
 * blob holds.
 */
import type { TestCore } from "../support/core.ts";
import { End } from "../tcp/pair.ts";
import type { EndOptions, Pair } from "../tcp/pair.ts";

export const FLOW = 0x0007_0009;

/** Fills the Mapping that `compile` bundles. */
export function setMapping(
  core: TestCore,
  generation = 1,
  application: Uint8Array = new Uint8Array(0),
): void {
  const base = core.f.mappingPtr!();
  const at = (name: string) => base + core.constant(`MappingOff.${name}`);
  core.write(base, new Uint8Array(core.constant("MAPPING_SIZE")));
  core.view.setUint32(at("FLOW"), FLOW, true);
  core.view.setUint32(at("GENERATION"), generation, true);
  core.write(at("FORWARDER"), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  core.write(at("SOURCE"), Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2));
  for (const [index, name] of ["FORWARDER_EPOCH", "SOURCE_EPOCH", "TARGET_EPOCH"].entries()) {
    core.write(at(name), new Uint8Array(16).fill(0xa0 + index));
  }
  core.view.setUint32(at("TUNNELS"), 1, true);
  core.write(at("TUNNEL4"), Uint8Array.of(10, 9, 0, 1));
  core.view.setUint32(at("APPLICATION_LEN"), application.length, true);
  core.write(core.f.applicationPtr!(), application);
}

/** The blob of a frozen connection. */
export function compile(core: TestCore, handle: number, nowUs: number): Uint8Array {
  const length = core.f.compile!(handle, nowUs);
  if (length <= 0) throw new Error(`compile returned ${length}`);
  return core.read(core.f.blobPtr!(), length);
}

/** A handle, or the error. */
export function infuse(core: TestCore, blob: Uint8Array, nowUs: number, peer = 0): number {
  core.write(core.f.blobPtr!(), blob);
  return core.f.infuse!(blob.length, peer, nowUs);
}

export function freeze(core: TestCore, handle: number): void {
  const err = core.f.freeze!(handle);
  if (err !== 0) throw new Error(`freeze returned ${err}`);
}

/** Moves b's connection to a new core, which takes b's place on the wire. Returns the handle there. */
export function moveB(
  pair: Pair,
  handle: number,
  options: EndOptions = {},
  generation = 1,
): { handle: number; blob: Uint8Array; before: End } {
  const before = pair.b;
  freeze(before.core, handle);
  setMapping(before.core, generation);
  const blob = compile(before.core, handle, pair.now + before.startUs);
  const after = new End(before.core.name, "b", { family: before.family, ...options });
  const moved = infuse(after.core, blob, pair.now + after.startUs);
  if (moved <= 0) throw new Error(`infuse returned ${moved}`);
  before.core.f.discard!(handle);
  (pair as { b: End }).b = after;
  after.pollEvents();
  return { handle: moved, blob, before };
}
