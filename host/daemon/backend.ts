/** `baton backend`, and the backend of an application: the role with real adapters around it. */
import { setTimeout as wait } from "node:timers/promises";
import type { Application } from "../app/application.ts";
import { UpstreamApplication } from "../app/upstream.ts";
import type { BackendConfig, MemberConfig } from "../config/config.ts";
import { Backend } from "../node/backend.ts";
import type { LiveConnection } from "../node/live.ts";
import { NO_FLOW } from "../node/messages.ts";
import { jsonLine } from "../observe/json.ts";
import { nodeId } from "../transport/create.ts";
import { daemonLog, untilStopped } from "./lifecycle.ts";
import { openNode, patienceOf, type CoreSizes, type RunningNode } from "./parts.ts";
import { releaseReport } from "./report.ts";
import { createReporter, type Reporter } from "./reporter.ts";
import type { Log } from "../node/environment.ts";

const SIZES: CoreSizes = {
  connectionsMax: 65_536,
  timeWaitMax: 131_072,
  halfOpenMax: 16,
  mappings4Max: 16,
  mappings6Max: 16,
  recordsMax: 1 << 18,
  earlyBytesMax: 16 << 20,
  earlyFlowsMax: 8192,
  bufferBytes: 512 << 20,
  slotBytes: 65_536,
  blobBytes: 8 << 20,
  mtu: 1500,
  segmenting: true,
};

export interface RunningBackend {
  readonly node: RunningNode;
  readonly backend: Backend;
}

export interface BackendNodeOptions {
  readonly config: MemberConfig;
  readonly application: Application;
  readonly log: Log;
  readonly reporter?: Reporter | undefined;
  readonly ordered?: ((on: boolean) => void) | undefined;
  /** The node was declared dead or lost its forwarder: it must be opened anew. */
  readonly restart: () => void;
}

export async function openBackend(options: BackendNodeOptions): Promise<RunningBackend> {
  const { config, application, log, reporter } = options;
  let backend: Backend | undefined;
  const flows = new WeakMap<LiveConnection, number>();
  const node = await openNode({
    config,
    peers: config.forwarders,
    routes: config.tunnels.map(({ address }) => ({ to: address })),
    sizes: SIZES,
    persist: false,
    log,
    role: (parts) => {
      backend = new Backend({
        ...parts,
        inject: () => parts.engine.inject(),
        acceptor: application,
        forwarders: config.forwarders.map(({ name }) => nodeId(parts.cipher, name)),
        connectionsMax: config.limits.connectionsMax ?? SIZES.connectionsMax,
        patience: patienceOf(config),
        mtu: config.mtu ?? SIZES.mtu,
        events: {
          arrived: (connection, mapping) => flows.set(connection, mapping.flow),
          finished: (connection, cause) => {
            if (reporter?.wants(cause !== "closed") !== true) return;
            reporter.report(releaseReport(connection, flows.get(connection) ?? NO_FLOW, cause));
          },
          ordered: (on) => options.ordered?.(on),
          restart: options.restart,
        },
      });
      return backend;
    },
  });
  return { node, backend: backend as Backend };
}

export async function runBackend(config: BackendConfig, stop: AbortSignal): Promise<void> {
  const log = daemonLog(config.json);
  const application = new UpstreamApplication(config.upstream, {
    proxyProtocol: config.proxyProtocol,
    connectTimeoutMs: config.timeouts.connectMs,
  });
  const reporter = createReporter(config);
  for (let again = true; again && !stop.aborted;) {
    again = await serve(config, application, log, reporter, stop);
  }
}

/** One boot epoch. True: it is over and another one should begin (PROTOCOL R14). */
async function serve(
  config: BackendConfig,
  application: Application,
  log: Log,
  reporter: Reporter,
  stop: AbortSignal,
): Promise<boolean> {
  const over = new AbortController();
  const end = (): void => over.abort();
  stop.addEventListener("abort", end, { once: true });
  const { backend, node } = await openBackend({
    ...{ config, application, log, reporter },
    restart: end,
  });
  if (config.json) process.stdout.write(jsonLine({ event: "ready", role: "backend" }));
  else log.write("info", `${config.name} takes connections`);
  await untilStopped(node, over.signal, config.json, async () => {
    stop.removeEventListener("abort", end);
    if (stop.aborted) {
      if (stop.reason === "SIGTERM") await drained(backend, node, config, log);
      await application.close(CLOSE_LIMIT_MS);
      await untilAcknowledged(backend);
    } else backend.giveUp();
    reporter.flush();
    const { migrator, moves, counters } = backend;
    const own = { migrator: migrator.counters, moves: moves.counters, backend: counters };
    const groups = { ...own, ...backend.mail };
    return structuredClone(groups);
  });
  if (!stop.aborted) log.write("warn", "lost contact: every connection was given up");
  return !stop.aborted;
}

/** SIGTERM: connections move to other backends, or come to their end, for a bounded time. */
async function drained(
  backend: Backend,
  node: RunningNode,
  { drainMs = DRAIN_MS, name }: BackendConfig,
  log: Log,
): Promise<void> {
  let isBroken = false;
  node.failed.catch(() => (isBroken = true));
  const untilMs = performance.now() + drainMs;
  log.write("info", `${name} drains before it ends`, { connections: backend.connections });
  while (backend.connections > 0 && performance.now() < untilMs) {
    if (isBroken || backend.isOver) break;
    // Also after an operator's undrain: this process ends.
    if (!backend.drainage.isOn) backend.empty();
    await wait(LOOK_MS);
  }
  const { open, moved, lost, remaining } = backend.drainage.state();
  log.write("info", `${name} has drained`, { open, moved, lost, remaining });
}

/** Lets the last bytes of connections that ended in order reach their clients. */
export async function untilAcknowledged(backend: Backend): Promise<void> {
  const untilMs = performance.now() + LAST_BYTES_MS;
  while (backend.unacknowledged() > 0 && performance.now() < untilMs) await wait(LOOK_MS);
}

/** With CLOSE_LIMIT_MS the 30 s that Kubernetes and Docker's swarm give a process. */
const DRAIN_MS = 25_000;
const LAST_BYTES_MS = 3_000;
const LOOK_MS = 20;

/** How long connections may go on after a signal. */
const CLOSE_LIMIT_MS = 5_000;
