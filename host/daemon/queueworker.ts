/**
 * A worker's process, which a holder forks: one forwarder node on one queue. Knows what the holder tells it; must not
 * know the device's set-up, other workers, nor the user's signals, which are for the holder.
 */
import type { KeyFile } from "../config/key.ts";
import { BatonError } from "../errors.ts";
import type { Log } from "../node/environment.ts";
import { carryOut } from "./control.ts";
import { openForwarder, type RunningForwarder } from "./forwarder.ts";
import { daemonLog } from "./lifecycle.ts";
import type { FromWorker, ToWorker } from "./talk.ts";

type Begin = Extract<ToWorker, { kind: "begin" }>;

let forwarder: RunningForwarder | undefined;
let keyFile: KeyFile | undefined;
const orders = new Map<number, () => void>();

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);
// The holder is gone: nobody would tell this one to stop.
process.on("disconnect", () => process.exit(1));
process.on("message", (message) => take(message as ToWorker));

function take(message: ToWorker): void {
  switch (message.kind) {
    case "begin":
      keyFile = message.keyFile;
      begin(message).catch(fail);
      return;
    case "keys":
      keyFile = message.keyFile;
      forwarder?.node.reloadKeys();
      return;
    case "order":
      return follow(message);
    case "endOrder":
      orders.get(message.id)?.();
      orders.delete(message.id);
      return;
    case "stop":
      return leave();
  }
}

async function begin({ config, queue, mtu, fd }: Begin): Promise<void> {
  forwarder = await openForwarder({
    config,
    log: named(config.name, daemonLog(config.json)),
    queue: { fd, queue, mtu },
    readKeys: () => keyFile as KeyFile,
  });
  forwarder.node.failed.catch(fail);
  say({ kind: "ready" });
}

function follow({ id, request }: Extract<ToWorker, { kind: "order" }>): void {
  if (!forwarder) return;
  orders.get(id)?.();
  orders.set(
    id,
    carryOut(forwarder.drains, request, (answer) => say({ kind: "answer", id, answer })),
  );
}

function leave(): void {
  for (const end of orders.values()) end();
  const counters = forwarder ? { ...forwarder.leave(), ...forwarder.node.counters() } : {};
  forwarder?.node.close();
  say({ kind: "counters", counters }, () => process.exit(0));
}

function fail(error: unknown): void {
  const { message } = error instanceof Error ? error : new Error(String(error));
  const code = error instanceof BatonError ? error.code : "ERR_BATON_WORKER";
  say({ kind: "failed", code, message }, () => process.exit(1));
}

/** Without a holder there is nobody to hear it, nor a reason to stay. */
function say(message: FromWorker, then: () => void = () => undefined): void {
  if (!process.connected) process.exit(1);
  process.send?.(message, undefined, {}, then);
}

function named(name: string, log: Log): Log {
  return { write: (level, message, fields) => log.write(level, `${name}: ${message}`, fields) };
}
