/**
 * A small HTTP/1 server over Connections of a simulated backend, as `routing=request` hands them out: it says
 * who it is and what it was asked, one answer at a time. Reads no byte that it was not given.
 *
 *   /a/...       answers "NAME PATH", and "NAME PATH BYTES" to a request with a body
 *   /a/big/N     answers N bytes
 */
import { byRequest, type Later } from "../../host/app/requests.ts";
import type { Acceptor } from "../../host/node/backend.ts";
import type { Connection } from "../../host/node/connection.ts";

export class AnsweringServer implements Acceptor {
  readonly isServing = true;
  isRefusing = false;
  served = 0;
  moved = 0;
  /** Requests that it answered, in order. */
  readonly asked: string[] = [];
  /** Connections that are open here. */
  readonly open = new Set<Connection>();
  readonly #name: string;

  readonly #later: Later;

  constructor(name: string, later: Later) {
    this.#name = name;
    this.#later = later;
  }

  accepts(): boolean {
    return !this.isRefusing;
  }

  accept(inner: Connection): void {
    const connection = byRequest(inner, this.#later);
    this.served++;
    this.open.add(connection);
    const session = new Session(connection, (head, bytes) => this.#answer(head, bytes));
    const gone = (): void => void this.open.delete(connection);
    connection.listen({
      readable: () => session.pump(),
      writable: () => session.pump(),
      ended: () => session.ended(),
      closed: () => (gone(), session.closed()),
      readiness: () => session.readiness(),
      moved: () => (gone(), this.moved++),
    });
  }

  #answer(head: string, body: number): Buffer {
    const [method = "", path = ""] = head.split(" ");
    this.asked.push(path);
    const [, count] = /\/big\/(\d+)$/.exec(path) ?? [];
    const said = body > 0 ? `${this.#name} ${path} ${body}` : `${this.#name} ${path}`;
    const content = count === undefined ? Buffer.from(said) : Buffer.alloc(Number(count), "x");
    if (path.endsWith("/upgrade")) {
      return Buffer.from("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
    }
    const close = path.endsWith("/close") ? "Connection: close\r\n" : "";
    const interim = path.endsWith("/hint") ? "HTTP/1.1 103 Early Hints\r\n\r\n" : "";
    const status = path.endsWith("/304") ? "304 Not Modified" : "200 OK";
    const start = `${interim}HTTP/1.1 ${status}\r\n${close}Content-Length: ${content.length}\r\n\r\n`;
    const isBare = method === "HEAD" || status.startsWith("304");
    return Buffer.concat([Buffer.from(start), isBare ? Buffer.alloc(0) : content]);
  }
}

class Session {
  #head = "";
  #bodyLeft = 0;
  #body = 0;
  #rest: Buffer = Buffer.alloc(0);
  #hasEnded = false;
  #isOver = false;
  #isLast = false;
  #echoes = false;

  constructor(
    private readonly connection: Connection,
    private readonly answer: (head: string, body: number) => Buffer,
  ) {}

  pump(): void {
    while (!this.#isOver && this.#step());
    if (this.#isOver || this.#rest.length > 0) return;
    if (!this.#isLast && !(this.#hasEnded && this.connection.readableLength === 0)) return;
    this.#isOver = true;
    this.connection.close();
  }

  ended(): void {
    this.#hasEnded = true;
    this.pump();
  }

  closed(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.connection.close();
  }

  readiness() {
    const isIdle = this.#head === "" && this.#rest.length === 0 && this.#bodyLeft === 0;
    if (!isIdle) return { kind: "busy", reason: "a request is under way" } as const;
    return { kind: "ready", state: Uint8Array.of(1) } as const;
  }

  /** True: something was done. */
  #step(): boolean {
    if (this.#rest.length > 0) {
      const taken = this.connection.write(this.#rest);
      this.#rest = this.#rest.subarray(taken);
      return taken > 0;
    }
    const byte = Buffer.alloc(this.#bodyLeft > 0 ? Math.min(this.#bodyLeft, 4096) : 1);
    const count = this.connection.read(byte);
    if (count === 0) return false;
    if (this.#echoes) this.#rest = Buffer.from(byte.subarray(0, count));
    else if (this.#bodyLeft > 0) {
      this.#bodyLeft -= count;
      if (this.#bodyLeft === 0) this.#reply();
    } else this.#read(String.fromCharCode(byte[0] ?? 0));
    return true;
  }

  #read(character: string): void {
    this.#head += character;
    if (this.#head === "\r\n") this.#head = "";
    if (!this.#head.endsWith("\r\n\r\n")) return;
    this.#body = Number(/content-length: (\d+)/i.exec(this.#head)?.[1] ?? 0);
    this.#bodyLeft = this.#body;
    if (this.#body === 0) this.#reply();
  }

  #reply(): void {
    const head = this.#head;
    this.#head = "";
    this.#isLast = head.includes("/close ");
    this.#echoes = head.includes("/upgrade ");
    this.#rest = this.answer(head, this.#body);
  }
}
