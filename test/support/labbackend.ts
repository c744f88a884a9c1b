/**
 * A backend of the lab whose application is a test's or a benchmark's own, in a process of theirs. Knows the flags,
 * the lines and the signal by which the lab runs `baton backend`; must not know the application.
 */
import { parseArgs } from "node:util";
import type { Application } from "../../host/app/application.ts";
import { ApplicationBackend } from "../../host/app/backend.ts";
import { applicationConfig } from "../../host/config/config.ts";
import { openBackend } from "../../host/daemon/backend.ts";
import { daemonLog } from "../../host/daemon/lifecycle.ts";
import type { Reporter } from "../../host/daemon/reporter.ts";
import { say } from "../../host/lab/script.ts";

export type LabBackendFlags = ReturnType<typeof backendFlags>;

/** The flags of this process, which stand after the word "backend". Throws where one is unknown. */
export function backendFlags() {
  const { values } = parseArgs({
    args: process.argv.slice(3),
    options: {
      name: { type: "string" },
      tunnel: { type: "string", multiple: true },
      forwarder: { type: "string", multiple: true },
      limit: { type: "string", multiple: true },
      mtu: { type: "string" },
      "key-file": { type: "string" },
      // The lab tells every backend; these have an application instead, and speak JSON only.
      upstream: { type: "string" },
      json: { type: "boolean" },
      quiet: { type: "boolean" },
    },
  });
  const { name, tunnel, forwarder, limit, mtu, "key-file": keyFile } = values;
  return { name, tunnel, forwarder, limit, mtu, "key-file": keyFile };
}

/** Servers of Node attached to it make its application; nobody drains it or stops it but the lab. */
export function attachable(): ApplicationBackend {
  return new ApplicationBackend({
    drain: () => undefined,
    reloadKeys: () => undefined,
    stop: () => Promise.resolve(),
  });
}

/** Serves until SIGINT, then prints its counters and ends. Connections are reported only to a `reporter`. */
export async function runLabBackend(
  flags: LabBackendFlags,
  application: Application,
  reporter?: Reporter,
): Promise<void> {
  const { node } = await openBackend({
    ...{ config: applicationConfig(flags), application, reporter },
    log: daemonLog(true),
    restart: () => fail(`${flags.name}: lost contact, every connection was given up`),
  });
  node.failed.catch(fail);
  process.once("SIGINT", () => {
    say({ event: "counters", ...node.counters() });
    node.close();
    process.exit(0);
  });
  say({ event: "ready" });
}

function fail(error: unknown): never {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
}
