/**
 * What an application gets from `createBackend`: it attaches its servers and closes in the end. Knows
 * applications and the two things it needs of a node; must not know how a node works.
 */
import { EventEmitter } from "node:events";
import * as net from "node:net";
import { BatonError } from "../errors.ts";
import type { Connection } from "../node/connection.ts";
import { Applications } from "./application.ts";
import type { Application, ApplicationOptions, CloseReport } from "./application.ts";
import { attach } from "./attach.ts";
import type { Attachment } from "./attach.ts";
import type { BatonSocket } from "./socket.ts";

/** How a connection came. */
export interface Arrival {
  /** What `socket.migrate({ state })` sent along at another backend; empty for a new connection. */
  readonly state: Uint8Array;
}

export interface BackendEvents {
  /** A connection to a port that no attached server takes; without a listener it is refused. */
  connection: [socket: BatonSocket, arrival: Arrival];
  /** An operator empties this backend, or does no longer: an application moves its sockets then. */
  drain: [on: boolean];
  /** The node failed and has left the cluster: its connections are lost. */
  error: [error: Error];
  /** After `close()`, or after 'error'. */
  close: [];
}

export interface CloseOptions {
  /** How long connections may take to finish; then they are reset. 30 s by default. */
  readonly graceMs?: number | undefined;
}

export interface Backend extends EventEmitter<BackendEvents> {
  /** `server` serves migrated connections as if it had accepted them, whether it listens or not. */
  attach(server: net.Server, options?: ApplicationOptions): Attachment;
  /** It gets no more; those it has stay with it. */
  detach(server: net.Server): void;
  /** Migrated connections that are open. */
  readonly connections: number;
  /** Reads the key file again, as a daemon does at SIGHUP; one that cannot be used changes nothing, and is logged. */
  reloadKeys(): void;
  /** Takes no more, lets responses under way finish, ends idle connections, leaves the cluster. */
  close(options?: CloseOptions): Promise<CloseReport>;
}

/** What a backend needs of its node. */
export interface BackendNode {
  /** Tell the cluster that this node takes nothing more; connections go on. */
  drain(): void;
  reloadKeys(): void;
  /** Leave; everything that is still open has been reset. */
  stop(): Promise<void>;
}

const GRACE_MS = 30_000;

/** The Backend over a node; `applications` is what the node hands connections to. */
export class ApplicationBackend extends EventEmitter<BackendEvents> implements Backend {
  readonly applications = new Applications(new ListenerApplication(this));
  readonly #node: BackendNode;
  readonly #attachments = new Map<net.Server, Attachment>();
  #closing: Promise<CloseReport> | undefined = undefined;

  constructor(node: BackendNode) {
    super();
    this.#node = node;
  }

  attach(server: net.Server, options: ApplicationOptions = {}): Attachment {
    if (this.#attachments.has(server)) {
      throw new BatonError("ERR_BATON_ATTACH", "attach: this server is attached already");
    }
    const attachment = attach(server);
    try {
      this.applications.add(attachment, options);
    } catch (error) {
      attachment.detach();
      throw error;
    }
    this.#attachments.set(server, attachment);
    return attachment;
  }

  detach(server: net.Server): void {
    const attachment = this.#attachments.get(server);
    if (!attachment) return;
    this.#attachments.delete(server);
    attachment.detach();
    this.applications.remove(attachment);
  }

  get connections(): number {
    return this.applications.connections;
  }

  reloadKeys(): void {
    this.#node.reloadKeys();
  }

  close(options: CloseOptions = {}): Promise<CloseReport> {
    this.#closing ??= this.#close(options.graceMs ?? GRACE_MS);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<CloseReport> {
    this.#node.drain();
    const report = await this.applications.close(graceMs);
    await this.#node.stop();
    this.emit("close");
    return report;
  }
}

/** Sockets for listeners of 'connection', made by a server that never listens. */
class ListenerApplication implements Application {
  readonly #emitter: EventEmitter<BackendEvents>;
  readonly #attachment: Attachment;

  constructor(emitter: EventEmitter<BackendEvents>) {
    this.#emitter = emitter;
    const server = new net.Server();
    server.on("connection", (socket: unknown) => {
      const it = socket as BatonSocket;
      emitter.emit("connection", it, { state: it.state });
    });
    this.#attachment = attach(server);
  }

  get connections(): number {
    return this.#attachment.connections;
  }

  get isServing(): boolean {
    return this.accepts();
  }

  accepts(): boolean {
    return this.#attachment.accepts() && this.#emitter.listenerCount("connection") > 0;
  }

  accept(connection: Connection): void {
    this.#attachment.accept(connection);
  }

  close(limitMs: number): Promise<CloseReport> {
    return this.#attachment.close(limitMs);
  }
}
