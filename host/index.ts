/**
 * The package's main entry: a backend inside an application. Knows how an ApplicationBackend gets its node;
 * must not know either of them from inside.
 */
import { ApplicationBackend, type Backend } from "./app/backend.ts";
import { applicationConfig } from "./config/config.ts";
import { daemonLog } from "./daemon/lifecycle.ts";
import { openBackend, untilAcknowledged, type RunningBackend } from "./daemon/backend.ts";

export { BatonError } from "./errors.ts";
export type { Arrival, Backend, BackendEvents, CloseOptions } from "./app/backend.ts";
export type { CloseReport } from "./app/application.ts";
export type { MigrateOptions } from "./app/departure.ts";
export type { BatonSocket } from "./app/socket.ts";
export type { MoveOutcome } from "./node/connection.ts";

/** Named like the flags of `baton backend`, with the same forms and defaults (docs/cli.md). */
export interface BackendOptions {
  readonly name?: string;
  /** This node's tunnel addresses, at most one of each family. */
  readonly tunnel: readonly string[];
  /** NAME=ADDRESS[:PORT],tunnel=ADDRESS */
  readonly forwarder: readonly string[];
  /** Where datagrams are received, ADDRESS:PORT. */
  readonly listen?: string;
  readonly keyFile?: string;
  /** "tun" or "tun:DEVICE". */
  readonly link?: string;
  /** "tun" or "raw". */
  readonly egress?: string;
  readonly mtu?: number;
  /** NAME=NUMBER, as in `--limit`. */
  readonly limit?: readonly string[];
  /** "auto", "always" or "never". */
  readonly hugePages?: string;
}

/**
 * Opens this process's node: a TUN device, a datagram socket, a TCP stack. Needs the privileges of
 * `baton backend`. It works on the caller's event loop.
 * @throws BatonError with the code of what is missing or wrong
 */
export async function createBackend(options: BackendOptions): Promise<Backend> {
  const { name, tunnel, forwarder, listen, keyFile, link, egress, mtu, limit, hugePages } = options;
  const config = applicationConfig({
    tunnel,
    forwarder,
    ...(name === undefined ? {} : { name }),
    ...(listen === undefined ? {} : { listen }),
    ...(keyFile === undefined ? {} : { "key-file": keyFile }),
    ...(link === undefined ? {} : { link }),
    ...(egress === undefined ? {} : { egress }),
    ...(mtu === undefined ? {} : { mtu: String(mtu) }),
    ...(limit === undefined ? {} : { limit }),
    ...(hugePages === undefined ? {} : { "huge-pages": hugePages }),
  });
  const backend = new ApplicationBackend({
    drain: () => running.backend.drain(),
    reloadKeys: () => running.node.reloadKeys(),
    stop: async () => {
      await untilAcknowledged(running.backend);
      running.node.close();
    },
  });
  const fail = (error: unknown): void => {
    running.backend.giveUp();
    running.node.close();
    backend.emit("error", error instanceof Error ? error : new Error(String(error)));
    backend.emit("close");
  };
  const running: RunningBackend = await openBackend({
    config,
    application: backend.applications,
    log: daemonLog(false),
    ordered: (on) => backend.emit("drain", on),
    restart: () =>
      fail(new Error("lost contact with the forwarder: every connection was given up")),
  });
  running.node.failed.catch(fail);
  return backend;
}
