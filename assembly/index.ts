/** The ABI: exported functions and argument checks, no logic. docs/architecture.md has the calling order. */
export { Err } from "./errors";
export {
  Verdict,
  PacketFlag,
  GsoType,
  DescriptorOff,
  DESCRIPTOR_SIZE,
  BATCH_MAX,
  SLOT_HEADROOM,
} from "./layout";

export function abiVersion(): u32 {
  return 1;
}
