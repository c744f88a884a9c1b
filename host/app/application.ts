/**
 * What takes migrated connections on a backend: a Node server, an upstream, a listener; and the table
 * of those. The node asks `accepts` before it acknowledges a blob and calls `accept` with the
 * connection. Must not know how a connection came here.
 */
import type { Connection, ConnectionAddress } from "../node/connection.ts";
import { BatonError } from "../errors.ts";

/** How the connections of an application ended when it was closed. */
export interface CloseReport {
  /** Ended by themselves within the limit. */
  readonly ended: number;
  /** Reset because the limit was over. */
  readonly aborted: number;
}

export interface Application {
  /** Anything would be taken at all: what a heartbeat says. */
  readonly isServing: boolean;
  /** Would a connection to this service address be taken now? */
  accepts(local: ConnectionAddress): boolean;
  /** Takes a connection; never throws, never waits. */
  accept(connection: Connection): void;
  readonly connections: number;
  /** Takes no more, lets those it has finish, resets what is left after `limitMs`. */
  close(limitMs: number): Promise<CloseReport>;
}

export interface ApplicationOptions {
  /** Only connections to these ports of a service address; to any without it. */
  readonly ports?: readonly number[] | undefined;
}

interface Entry {
  readonly application: Application;
  readonly ports: ReadonlySet<number>;
}

/** The applications of one backend. A connection goes to the first that names its port, then to any. */
export class Applications implements Application {
  readonly #fallback: Application | undefined;
  #entries: Entry[] = [];
  /** Get nothing new; are waited for as long as they have connections. */
  #removed: Application[] = [];
  #closing = false;

  /** `fallback` takes what nobody else takes. */
  constructor(fallback?: Application) {
    this.#fallback = fallback;
  }

  add<T extends Application>(application: T, options: ApplicationOptions = {}): T {
    if (this.#closing) {
      throw new BatonError("ERR_BATON_CLOSED", "backend: expected an open one, got a closed one");
    }
    this.#entries.push({ application, ports: portSet(options.ports) });
    return application;
  }

  /** Later connections go elsewhere; those it has stay with it. */
  remove(application: Application): void {
    this.#entries = this.#entries.filter((entry) => entry.application !== application);
    this.#removed = [...this.#removed, application].filter((it) => it.connections > 0);
  }

  get connections(): number {
    return this.#all().reduce((sum, application) => sum + application.connections, 0);
  }

  get isServing(): boolean {
    const all = [...this.#entries.map(({ application }) => application), this.#fallback];
    return !this.#closing && all.some((application) => application?.isServing === true);
  }

  accepts(local: ConnectionAddress): boolean {
    return this.#find(local) !== undefined;
  }

  accept(connection: Connection): void {
    const application = this.#find(connection.local);
    // Between the node's question and now the last application may have gone: nobody will answer.
    if (application) application.accept(connection);
    else connection.abort();
  }

  async close(limitMs: number): Promise<CloseReport> {
    this.#closing = true;
    const reports = await Promise.all(this.#all().map((application) => application.close(limitMs)));
    return {
      ended: reports.reduce((sum, report) => sum + report.ended, 0),
      aborted: reports.reduce((sum, report) => sum + report.aborted, 0),
    };
  }

  #all(): Application[] {
    const fallback = this.#fallback ? [this.#fallback] : [];
    return [...this.#entries.map((entry) => entry.application), ...this.#removed, ...fallback];
  }

  #find(local: ConnectionAddress): Application | undefined {
    if (this.#closing) return undefined;
    const ready = this.#entries.filter((entry) => entry.application.accepts(local));
    const named = ready.find((entry) => entry.ports.has(local.port));
    const any = named ?? ready.find((entry) => entry.ports.size === 0);
    if (any) return any.application;
    return this.#fallback?.accepts(local) ? this.#fallback : undefined;
  }
}

function portSet(ports: readonly number[] | undefined): ReadonlySet<number> {
  for (const port of ports ?? []) {
    if (Number.isInteger(port) && port >= 1 && port <= 65_535) continue;
    throw new BatonError("ERR_BATON_ATTACH", `ports: expected 1 to 65535, got ${String(port)}`);
  }
  return new Set(ports);
}
