/**
 * `baton forwarder --queues N`: holds the device with its queues and a team of workers, and is one forwarder to its
 * user. Knows what belongs to the device and to the user; must not know packets, flows or messages. docs/queues.md
 */
import { workersOf, type ForwarderConfig } from "../config/config.ts";
import { readKeyFile, type KeyFile } from "../config/key.ts";
import { createCipher } from "../link/cipher.ts";
import { openTunQueues, type TunQueues } from "../link/queues.ts";
import type { Log } from "../node/environment.ts";
import { formatCounters, type CounterGroups } from "../observe/counters.ts";
import { jsonLine } from "../observe/json.ts";
import { routesOf, serveForwarder } from "./forwarder.ts";
import { daemonLog, type StoppableNode } from "./lifecycle.ts";
import { isSegmenting } from "./links.ts";
import { addressBytes } from "./parts.ts";
import { addCounters } from "./sum.ts";
import { Team } from "./team.ts";

const STEERING_INFO = "baton steering 1";
const STEERING_BYTES = 8;

export async function runHolder(config: ForwarderConfig, stop: AbortSignal): Promise<void> {
  const log = daemonLog(config.json);
  const keyFile = readKeyFile(config.keyFile);
  const workers = workersOf(config);
  const device = await openDevice(config, workers, keyFile);
  const { fds, mtu } = device;
  const tasks = workers.map((worker, queue) => ({ config: worker, queue, mtu }));
  const team = new Team({ tasks, fds, keyFile, log });
  try {
    await team.ready;
  } catch (error) {
    team.close();
    device.forget();
    device.close();
    throw error;
  }
  const node = asNode(config, team, device, log);
  const leave = async (): Promise<CounterGroups> => {
    const counters = await team.stop();
    for (const [worker, groups] of counters) tellCounters(config, worker, groups);
    return addCounters(counters.values());
  };
  await serveForwarder(config, node, (...order) => team.order(...order), log, stop, leave);
}

/** Flows stay with their workers as long as connections' numbers derive from the same secret. */
function openDevice(
  config: ForwarderConfig,
  workers: readonly ForwarderConfig[],
  { secret }: KeyFile,
): Promise<TunQueues> {
  const info = new TextEncoder().encode(STEERING_INFO);
  const addresses = workers.flatMap(routesOf).map(({ to }) => to);
  return openTunQueues({
    name: config.link.device,
    mtu: config.mtu,
    persist: true,
    offload: isSegmenting(config),
    routes: [...new Set(addresses)].map((to) => ({ to })),
    tunnels: workers.map(({ tunnels }) => tunnels.map(({ address }) => addressBytes(address))),
    key: createCipher().hkdf(secret, new Uint8Array(0), info, STEERING_BYTES),
  });
}

function asNode(config: ForwarderConfig, team: Team, device: TunQueues, log: Log): StoppableNode {
  return {
    failed: team.failed,
    counters: () => ({ workers: { ...team.counters }, unsteered: { ...device.counters } }),
    reloadKeys: () => {
      try {
        team.setKeys(readKeyFile(config.keyFile));
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        log.write("error", `cluster keys not changed: ${message}`);
      }
    },
    close: () => {
      team.close();
      device.close();
    },
  };
}

function tellCounters({ json }: ForwarderConfig, worker: string, counters: CounterGroups): void {
  if (json) process.stdout.write(jsonLine({ event: "worker", worker, ...counters }));
  else process.stderr.write(`${worker}\n${formatCounters(counters)}`);
}
