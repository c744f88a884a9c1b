/**
 * What a role's events say of a connection, as observe/report.ts wants it. Knows both forms; must not know
 * where a report goes.
 */
import { formatAddress } from "../core/address.ts";
import type { Tuple } from "../core/tuple.ts";
import type { Handoff } from "../node/forwarder.ts";
import type { LiveConnection } from "../node/live.ts";
import type { ReleaseCause } from "../node/messages.ts";
import type { ConnectionReport } from "../observe/report.ts";
import type { RequestHead } from "../routing/route.ts";

/** The forwarder's, when the verdict is there. */
export function handoffReport(handoff: Handoff): ConnectionReport {
  const { request, backend, flow, blobBytes, handoffUs } = handoff;
  const { head, rule } = request;
  return { ...endsOf(request.tuple), head, rule, backend, flow, blobBytes, handoffUs };
}

/** The forwarder's, of a connection that went to no backend. */
export function rejectReport(
  tuple: Tuple,
  reason: string,
  head: RequestHead | undefined,
): ConnectionReport {
  return { ...endsOf(tuple), head, failure: reason };
}

/** The backend's, when a connection is over. */
export function releaseReport(
  connection: LiveConnection,
  flow: number,
  cause: ReleaseCause,
): ConnectionReport {
  const { remote, local, bytesRead, bytesWritten } = connection;
  return {
    client: { address: remote.address, port: remote.port },
    service: { address: local.address, port: local.port },
    flow,
    failure: cause === "closed" ? undefined : cause,
    forwardedBytes: bytesRead,
    directBytes: bytesWritten,
  };
}

function endsOf(tuple: Tuple): Pick<ConnectionReport, "client" | "service"> {
  return {
    client: { address: formatAddress(tuple.remote), port: tuple.remotePort },
    service: { address: formatAddress(tuple.local), port: tuple.localPort },
  };
}
