/**
 * Operators' orders at a forwarder: which is given to whom, and what is told of it. Knows the control socket
 * and the forwarder's drains; must not know how connections move.
 */
import type { ForwarderConfig } from "../config/config.ts";
import { controlPath } from "../config/flags.ts";
import { openControl, type ControlServer } from "../control/server.ts";
import type { ControlAnswer, ControlProgress, ControlRequest } from "../control/protocol.ts";
import { BatonError } from "../errors.ts";
import type { Drains } from "../node/drains.ts";
import type { Log } from "../node/environment.ts";

const LOOK_MS = 50;

/** Carries an order out and tells of it, until the function that it returns is called. */
export type Order = (
  request: ControlRequest,
  answer: (answer: ControlAnswer) => void,
) => () => void;

/** Undefined where there can be no socket at the default place; one that was asked for must be. */
export async function startControl(
  config: ForwarderConfig,
  order: Order,
  log: Log,
): Promise<ControlServer | undefined> {
  const path = config.control ?? controlPath(config.name);
  try {
    return await openControl({ path, order });
  } catch (error) {
    if (config.control !== undefined || !(error instanceof BatonError)) throw error;
    log.write("warn", `${error.message}: baton drain will not find this forwarder`);
    return undefined;
  }
}

/** Gives the order, then tells every change until the command is gone. */
export function carryOut(
  drains: Drains,
  { do: order, backend }: ControlRequest,
  answer: (answer: ControlAnswer) => void,
): () => void {
  if (!drains.view(backend)) {
    answer({ event: "error", message: `expected the name of a backend, got "${backend}"` });
    return () => undefined;
  }
  if (order !== "status") drains.order(backend, order === "drain");
  let last = "";
  const look = (): void => {
    const progress = progressOf(drains, backend);
    const text = JSON.stringify(progress);
    if (text === last) return;
    last = text;
    answer(progress);
  };
  look();
  const timer = setInterval(look, LOOK_MS);
  return () => clearInterval(timer);
}

function progressOf(drains: Drains, backend: string): ControlProgress {
  const view = drains.view(backend);
  const {
    on = false,
    open = 0,
    moving = 0,
    moved = 0,
    lost = 0,
    remaining = [],
  } = view?.progress ?? {};
  return {
    event: "progress",
    backend,
    alive: view?.isAlive ?? false,
    confirmed: view?.progress !== undefined,
    draining: on,
    open,
    moving,
    moved,
    lost,
    remaining,
  };
}
