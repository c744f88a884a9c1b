/** All scripts. */
import type { Script } from "../script.ts";
import { close } from "./close.ts";
import { guard } from "./guard.ts";
import { handshake } from "./handshake.ts";
import { path } from "./path.ts";
import { receive } from "./receive.ts";
import { send } from "./send.ts";

export const SCRIPTS: readonly Script[] = [
  ...handshake,
  ...guard,
  ...receive,
  ...send,
  ...close,
  ...path,
];
