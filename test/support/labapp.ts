/** An application of its own for the lab: createBackend with a server of Node that never listens. */
import { createServer } from "node:http";
import { createBackend, type BackendOptions } from "../../host/index.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as BackendOptions;
const server = createServer((request, response) => {
  response.end(`${request.socket.remoteAddress} ${request.url}`);
});
const backend = await createBackend(options);
backend.attach(server, { ports: [80] });
process.stdout.write("attached\n");
process.once("SIGINT", () => {
  void backend.close({ graceMs: 2_000 });
});
