/**
 * The socket at which a daemon takes operators' commands: of its owner only (mode 0600), a bounded number at
 * a time, each bounded in bytes and time. Knows unix sockets and lines; must not know what an order does.
 */
import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import * as net from "node:net";
import { dirname } from "node:path";
import { BatonError } from "../errors.ts";
import { probeSocket } from "./probe.ts";
import { LINE_MAX, parseRequest, type ControlAnswer, type ControlRequest } from "./protocol.ts";

/** Commands that may be connected at once. */
const COMMANDS_MAX = 16;
/** For the request of a command that has connected. */
const REQUEST_LIMIT_MS = 5_000;
/** Bytes that a command has not read; it is dropped then, what it ordered stands. */
const UNREAD_MAX = 262_144;
const OWNER_ONLY = 0o600;

export interface ControlOptions {
  readonly path: string;
  /** Carries an order out; `answer` may be called at once and later, until the function it returns is. */
  readonly order: (request: ControlRequest, answer: (answer: ControlAnswer) => void) => () => void;
}

export interface ControlServer {
  readonly path: string;
  close(): void;
}

/** @throws BatonError ERR_BATON_CONTROL when there can be no socket at that path */
export async function openControl(options: ControlOptions): Promise<ControlServer> {
  const { path } = options;
  const commands = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    commands.add(socket);
    socket.once("close", () => commands.delete(socket));
    serve(socket, options);
  });
  server.maxConnections = COMMANDS_MAX;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    await clearStale(path);
    await listen(server, path);
    chmodSync(path, OWNER_ONLY);
  } catch (error) {
    server.close();
    if (error instanceof BatonError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BatonError("ERR_BATON_CONTROL", `control socket ${path}: ${code ?? message}`);
  }
  return {
    path,
    close: () => {
      server.close(); // Removes the path, too.
      for (const socket of commands) socket.destroy();
    },
  };
}

/** A socket that nobody listens at any more was left by a process that was killed. */
async function clearStale(path: string): Promise<void> {
  const error = await probeSocket(path);
  if (!error) {
    const what = `control socket ${path}: expected a free one, got one that another process serves`;
    throw new BatonError("ERR_BATON_CONTROL", what);
  }
  if (error.code === "ENOENT") return;
  // A file of another kind refuses as well; it is not ours to remove.
  if (error.code !== "ECONNREFUSED" || !lstatSync(path).isSocket()) throw error;
  rmSync(path);
}

/** Nobody else may connect in the moment before its mode is set. */
function listen(server: net.Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    const before = process.umask(0o177);
    try {
      server.listen(path, () => resolve());
    } finally {
      process.umask(before);
    }
  });
}

function serve(socket: net.Socket, { order }: ControlOptions): void {
  let text = "";
  let stop: (() => void) | undefined;
  const answer = (value: ControlAnswer): void => {
    if (socket.destroyed) return;
    socket.write(JSON.stringify(value) + "\n");
    if (socket.writableLength > UNREAD_MAX) socket.destroy();
  };
  const refuse = (message: string): void => {
    answer({ event: "error", message });
    socket.end();
  };
  const timer = setTimeout(() => refuse("expected a request, got none in time"), REQUEST_LIMIT_MS);
  timer.unref();
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    if (stop) return; // One request for each connection; what follows says nothing.
    text += chunk;
    const end = text.indexOf("\n");
    if (end < 0 && text.length <= LINE_MAX) return;
    clearTimeout(timer);
    const request = end < 0 || end >= LINE_MAX ? undefined : parseRequest(text.slice(0, end));
    text = "";
    if (!request) {
      stop = () => undefined;
      return refuse("expected a request in JSON, got something else");
    }
    stop = order(request, answer);
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    clearTimeout(timer);
    stop?.();
  });
}
