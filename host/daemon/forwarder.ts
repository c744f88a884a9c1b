/** `baton forwarder`: the role with real adapters around it, until it is told to stop. */
import type { ForwarderConfig } from "../config/config.ts";
import type { KeyFile } from "../config/key.ts";
import type { ControlServer } from "../control/server.ts";
import { announce, checkAnnounce, type Announcement } from "../link/neighbour.ts";
import type { Drains } from "../node/drains.ts";
import type { Log } from "../node/environment.ts";
import { Forwarder } from "../node/forwarder.ts";
import type { CounterGroups } from "../observe/counters.ts";
import { jsonLine } from "../observe/json.ts";
import { nodeId } from "../transport/create.ts";
import { daemonLog, untilStopped, type StoppableNode } from "./lifecycle.ts";
import { carryOut, startControl, type Order } from "./control.ts";
import type { DeviceQueue } from "./links.ts";
import { openNode, type CoreSizes, type Parts, type RunningNode } from "./parts.ts";
import { readerEvents, readerOptions } from "./reader.ts";
import { createReporter, type Reporter } from "./reporter.ts";

const SIZES: CoreSizes = {
  connectionsMax: 65_536,
  timeWaitMax: 65_536,
  /** Beyond these a SYN is answered by a cookie: a flood takes 3 MiB and no more. */
  halfOpenMax: 4096,
  mappings4Max: 1 << 20,
  mappings6Max: 1 << 18,
  // As for a classifier: connections come back to be routed again.
  recordsMax: 1 << 18,
  earlyBytesMax: 16 << 20,
  earlyFlowsMax: 8192,
  bufferBytes: 128 << 20,
  slotBytes: 65_536,
  // What one client can have sent and nobody read: a whole receive buffer of 6 MiB.
  blobBytes: 8 << 20,
  mtu: 1500,
  segmenting: true,
};

export async function runForwarder(config: ForwarderConfig, stop: AbortSignal): Promise<void> {
  // The device persists: a flag that cannot be served must not leave one behind.
  if (config.announce !== undefined) checkAnnounce(config.announce);
  if (config.queues > 1) return (await import("./holder.ts")).runHolder(config, stop);
  const log = daemonLog(config.json);
  const { node, drains, leave } = await openForwarder({ config, log });
  const order: Order = (request, answer) => carryOut(drains, request, answer);
  await serveForwarder(config, node, order, log, stop, leave);
}

export interface ForwarderNodeOptions {
  readonly config: ForwarderConfig;
  readonly log: Log;
  /** A queue to read instead of a device of its own. */
  readonly queue?: DeviceQueue;
  /** Who holds the keys, when it is not the file of the configuration. */
  readonly readKeys?: () => KeyFile;
}

export interface RunningForwarder {
  readonly node: RunningNode;
  readonly drains: Drains;
  /** Says what was not said yet, and gives the role's counters. */
  readonly leave: () => CounterGroups;
}

/** The role with real adapters around it. */
export async function openForwarder(options: ForwarderNodeOptions): Promise<RunningForwarder> {
  const { config, log, queue, readKeys } = options;
  const reporter = createReporter(config);
  let made: Forwarder | undefined;
  const node = await openNode({
    config,
    peers: [...config.backends, ...config.classifiers],
    routes: routesOf(config),
    sizes: SIZES,
    persist: true,
    log,
    queue,
    readKeys,
    role: (parts) => {
      made = newForwarder(config, parts, reporter);
      return made;
    },
  });
  const forwarder = made as Forwarder;
  const leave = (): CounterGroups => {
    reporter.flush();
    return {
      judge: { ...forwarder.judge.counters },
      migrator: { ...forwarder.migrator.counters },
      classifier: { ...forwarder.classifier.counters },
      courier: { ...forwarder.courier.counters },
      forwarder: { ...forwarder.counters },
      ...forwarder.mail,
      relay: { ...forwarder.relay.counters },
    };
  };
  return { node, drains: forwarder.drains, leave };
}

function newForwarder(config: ForwarderConfig, parts: Parts, reporter: Reporter): Forwarder {
  const listens = config.classifiers.length === 0;
  return new Forwarder({
    ...readerOptions(config, SIZES, parts, listens),
    backends: config.backends.map(({ name }) => ({ name, id: nodeId(parts.cipher, name) })),
    classifiers: config.classifiers.map(({ name }) => nodeId(parts.cipher, name)),
    events: readerEvents(reporter),
  });
}

/** What a forwarder has towards its user, around the node or nodes that do the work: until `stop`. */
export async function serveForwarder(
  config: ForwarderConfig,
  node: StoppableNode,
  order: Order,
  log: Log,
  stop: AbortSignal,
  leave: () => CounterGroups | Promise<CounterGroups>,
): Promise<void> {
  const control = await openControlOf(config, order, node, log);
  const announcement = startAnnouncing(config, node, control);
  if (config.json) process.stdout.write(jsonLine({ event: "ready", role: "forwarder" }));
  else log.write("info", `${config.name} forwards ${config.services.length} service addresses`);
  await untilStopped(node, stop, config.json, () => {
    announcement?.close();
    control?.close();
    return leave();
  });
}

/** Packets to service addresses and to the own tunnel addresses come in by the link. */
export function routesOf(config: ForwarderConfig): { readonly to: string }[] {
  const addresses = [...config.services, ...config.tunnels].map(({ address }) => address);
  return [...new Set(addresses)].map((to) => ({ to }));
}

async function openControlOf(
  config: ForwarderConfig,
  order: Order,
  node: StoppableNode,
  log: Log,
): Promise<ControlServer | undefined> {
  try {
    return await startControl(config, order, log);
  } catch (error) {
    node.close();
    throw error;
  }
}

function startAnnouncing(
  config: ForwarderConfig,
  node: StoppableNode,
  control: ControlServer | undefined,
): Announcement | undefined {
  if (config.announce === undefined) return undefined;
  const addresses = [...new Set(config.services.map(({ address }) => address))];
  try {
    return announce(config.announce, addresses);
  } catch (error) {
    control?.close();
    node.close();
    throw error;
  }
}
