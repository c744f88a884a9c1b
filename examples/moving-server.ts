/**
 * A server that counts its clients' lines, and gives its connections to another backend when this one is
 * drained: clients keep their connections, and their counts.
 *
 * Try the following, as root, on two backends b1 and b2, with the forwarder of README.md running:
 *   node build/examples/moving-server.js b1 198.51.100.21 lb=192.0.2.10,tunnel=198.51.100.10
 *   nc 192.0.2.100 80               a line, after "baton drain b1" another one: 1: ..., 2: ...
 */
import { createBackend, type BatonSocket } from "../host/index.ts";

class Session {
  readonly #socket: BatonSocket;
  #count: number;
  #rest: string;

  constructor(socket: BatonSocket, state: Uint8Array) {
    const text = Buffer.from(state).toString();
    const saved =
      state.length > 0 ? (JSON.parse(text) as { count: number; rest: string }) : undefined;
    this.#socket = socket;
    this.#count = saved?.count ?? 0;
    this.#rest = saved?.rest ?? "";
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => this.#read(chunk));
    socket.on("error", (error) => process.stderr.write(`${error.message}\n`));
    // Between two lines and within one: what was read of it goes along.
    socket.readiness = () => ({ kind: "ready", state: this.save() });
  }

  save(): Uint8Array {
    return Buffer.from(JSON.stringify({ count: this.#count, rest: this.#rest }));
  }

  #read(chunk: string): void {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = (lines.pop() ?? "").slice(-1000);
    for (const line of lines) {
      this.#count += 1;
      this.#socket.write(`${this.#count}: ${line}\n`);
    }
  }
}

const [name = "b1", tunnel = "198.51.100.21", forwarder = "lb=192.0.2.10,tunnel=198.51.100.10"] =
  process.argv.slice(2);
const backend = await createBackend({ name, tunnel: [tunnel], forwarder: [forwarder] });
backend.on("connection", (socket, { state }) => void new Session(socket, state));
process.once("SIGINT", () => void backend.close({ graceMs: 5_000 }));
