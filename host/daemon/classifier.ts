/** `baton classifier`: the role with real adapters around it, until it is told to stop. */
import { setTimeout as wait } from "node:timers/promises";
import type { ClassifierConfig } from "../config/config.ts";
import { ClassifierNode } from "../node/classifiernode.ts";
import { jsonLine } from "../observe/json.ts";
import { nodeId } from "../transport/create.ts";
import type { Log } from "../node/environment.ts";
import { daemonLog, untilStopped } from "./lifecycle.ts";
import { openNode, type CoreSizes, type RunningNode } from "./parts.ts";
import { readerEvents, readerOptions } from "./reader.ts";
import { createReporter, type Reporter } from "./reporter.ts";

const SIZES: CoreSizes = {
  connectionsMax: 65_536,
  timeWaitMax: 65_536,
  halfOpenMax: 16_384,
  mappings4Max: 16,
  mappings6Max: 16,
  recordsMax: 1 << 18,
  earlyBytesMax: 16 << 20,
  earlyFlowsMax: 8192,
  bufferBytes: 256 << 20,
  slotBytes: 65_536,
  blobBytes: 8 << 20,
  mtu: 1500,
  segmenting: true,
};

export async function runClassifier(config: ClassifierConfig, stop: AbortSignal): Promise<void> {
  const log = daemonLog(config.json);
  for (let again = true; again && !stop.aborted;) again = await serve(config, log, stop);
}

/** One boot epoch. True: it is over and another one should begin (PROTOCOL R14). */
async function serve(config: ClassifierConfig, log: Log, stop: AbortSignal): Promise<boolean> {
  const over = new AbortController();
  const end = (): void => over.abort();
  stop.addEventListener("abort", end, { once: true });
  const reporter = createReporter(config);
  const { node, classifier } = await open(config, log, reporter, end);
  if (config.json) process.stdout.write(jsonLine({ event: "ready", role: "classifier" }));
  else log.write("info", `${config.name} reads requests`);
  await untilStopped(node, over.signal, config.json, async () => {
    stop.removeEventListener("abort", end);
    if (stop.aborted) await drained(classifier);
    reporter.flush();
    return {
      migrator: { ...classifier.migrator.counters },
      classifier: { ...classifier.classifier.counters },
      dispatch: { ...classifier.dispatch.counters },
      waiting: { ...classifier.waiting.counters },
      relay: { ...classifier.counters },
    };
  });
  if (!stop.aborted) log.write("warn", "lost contact: every connection was given up");
  return !stop.aborted;
}

async function open(
  config: ClassifierConfig,
  log: Log,
  reporter: Reporter,
  restart: () => void,
): Promise<{ readonly node: RunningNode; readonly classifier: ClassifierNode }> {
  let classifier: ClassifierNode | undefined;
  const node = await openNode({
    config,
    peers: config.forwarders,
    routes: config.tunnels.map(({ address }) => ({ to: address })),
    sizes: SIZES,
    persist: false,
    log,
    role: (parts) => {
      const named = (name: string) => ({ name, id: nodeId(parts.cipher, name) });
      classifier = new ClassifierNode({
        ...readerOptions(config, SIZES, parts, true),
        forwarders: config.forwarders.map(({ name }) => named(name).id),
        backends: config.backends.map(named),
        events: { ...readerEvents(reporter), restart },
      });
      return classifier;
    },
  });
  return { node, classifier: classifier as ClassifierNode };
}

/** Takes nothing new and lets requests that are being read go their way. */
async function drained(classifier: ClassifierNode): Promise<void> {
  classifier.drain();
  const untilMs = performance.now() + DRAIN_LIMIT_MS;
  while (!classifier.isIdle && performance.now() < untilMs) await wait(LOOK_MS);
}

const DRAIN_LIMIT_MS = 3_000;
const LOOK_MS = 20;
