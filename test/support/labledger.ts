/**
 * A kernel HTTP server for the lab that tells every request it sees: one JSON line each. Usage: labledger
 * PORT; prints "listening" first.
 */
import { createServer } from "node:http";

const server = createServer((request, response) => {
  process.stdout.write(JSON.stringify({ url: request.url }) + "\n");
  response.setHeader("x-backend", "ledger");
  response.end(`${request.url}\n`);
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => process.stdout.write("listening\n"));
