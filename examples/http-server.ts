/**
 * An HTTP server of Node that serves connections which a forwarder accepted. It never listens.
 *
 * Try the following, as root, with the forwarder of README.md running:
 *   node build/examples/http-server.js b1 198.51.100.21 lb=192.0.2.10,tunnel=198.51.100.10
 *   curl -H 'Host: api.example' http://192.0.2.100/
 */
import { createServer } from "node:http";
import { createBackend } from "../host/index.ts";

const [name = "b1", tunnel = "198.51.100.21", forwarder = "lb=192.0.2.10,tunnel=198.51.100.10"] =
  process.argv.slice(2);

const server = createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.end(`hello ${remoteAddress} port ${remotePort}, from ${name}\n`);
});

const backend = await createBackend({ name, tunnel: [tunnel], forwarder: [forwarder] });
backend.attach(server);
backend.on("error", (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});

process.once("SIGINT", () => {
  void backend.close({ graceMs: 5000 });
});
