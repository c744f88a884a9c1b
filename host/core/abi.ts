/**
 * The functions of the ABI that the façade calls. Knows names only.
 */
import { BatonError } from "../errors.ts";
import type { AbiFunction, CoreModule } from "./module.ts";

/** The raw exports, picked once: a call through them costs nanoseconds, a look-up by name does not. */
const FUNCTIONS = [
  "init",
  "rxBatchPtr",
  "txBatchPtr",
  "tunnelSet",
  "peerSet",
  "serviceAdd",
  "serviceMss",
  "modeSet",
  "handlePackets",
  "pollTransmit",
  "pollHandback",
  "nextTimeoutUs",
  "handleTimeout",
  "pollEvent",
  "connect",
  "readable",
  "readableLength",
  "unacknowledgedLength",
  "consume",
  "reserve",
  "commit",
  "shutdown",
  "abort",
  "release",
  "connectionState",
  "connectionInfo",
  "connectionKnown",
  "connectionOwner",
  "setOption",
  "freeze",
  "thaw",
  "discard",
  "compile",
  "blobPtr",
  "blobMax",
  "applicationPtr",
  "infuse",
  "unbundle",
  "mapSet",
  "mapGet",
  "mapDelete",
  "mapNote",
  "mapReset",
  "mapScan",
  "mapBury",
  "recordSet",
  "recordGet",
  "recordHandle",
  "recordTuple",
  "recordScan",
  "recordPass",
  "rxUnwrap",
] as const;
export type Abi = Readonly<Record<(typeof FUNCTIONS)[number], AbiFunction>>;

/** @throws BatonError ERR_BATON_CORE when one is missing. */
export function bind(module: CoreModule): Abi {
  const entries = FUNCTIONS.map((name) => {
    const found = module.functions[name];
    if (!found) throw new BatonError("ERR_BATON_CORE", `core.wasm: no function ${name}`);
    return [name, found] as const;
  });
  return Object.fromEntries(entries) as Abi;
}
