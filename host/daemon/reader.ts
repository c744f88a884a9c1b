/**
 * What a node that reads requests makes of its configuration, forwarder or classifier. Knows the configuration and
 * what a role is given; must not know which role it is, nor where a verdict goes.
 */
import type { ClassifierConfig, ForwarderConfig, Service } from "../config/config.ts";
import type { Routing } from "../node/connection.ts";
import type { DispatchEvents } from "../node/dispatch.ts";
import type { Tuple } from "../core/tuple.ts";
import { createRouter } from "../routing/router.ts";
import { patienceOf, addressBytes, type CoreSizes, type Parts } from "./parts.ts";
import { handoffReport, rejectReport } from "./report.ts";
import type { Reporter } from "./reporter.ts";
import { addServices } from "./services.ts";

/** For the role's constructor; `listens` when connections arrive here. */
export function readerOptions(
  config: ForwarderConfig | ClassifierConfig,
  sizes: CoreSizes,
  parts: Parts,
  listens: boolean,
) {
  const { headMs } = config.timeouts;
  return {
    ...parts,
    inject: () => parts.engine.inject(),
    router: createRouter(config.rules),
    connectionsMax: config.limits.connectionsMax ?? sizes.connectionsMax,
    headLimitUs: headMs === undefined ? undefined : headMs * 1000,
    routingOf: routingOf(config.services),
    patience: patienceOf(config),
    mtu: config.mtu ?? sizes.mtu,
    narrowed: addServices(parts.core, config.services, { listens, ecn: config.ecn }),
  };
}

/** Tells the user of each verdict. */
export function readerEvents(
  reporter: Reporter,
): Required<Pick<DispatchEvents, "handedOff" | "rejected">> {
  return {
    handedOff: (handoff) => {
      if (reporter.wants(false)) reporter.report(handoffReport(handoff));
    },
    rejected: (tuple, reason, head) => reporter.report(rejectReport(tuple, reason, head)),
  };
}

/** How connections to a service address are routed. */
function routingOf(services: readonly Service[]): (tuple: Tuple) => Routing {
  const keyOf = (address: Uint8Array, port: number): string => `${address.join()} ${port}`;
  const byRequest = services.filter(({ routing }) => routing === "request");
  if (byRequest.length === 0) return () => "connection"; // No text is made for each connection.
  const keys = new Set(byRequest.map(({ address, port }) => keyOf(addressBytes(address), port)));
  return ({ local, localPort }) => (keys.has(keyOf(local, localPort)) ? "request" : "connection");
}
