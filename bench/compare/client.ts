/**
 * The kernel's client for what wrk does not do: large transfers, uploads that wait for their answer, many idle
 * connections. Run as a script on a node by peers.ts: reads one JSON line, prints one line for each result.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { runAsScript, say } from "../../host/lab/script.ts";
import { FILES } from "./files.ts";

export interface Target {
  readonly address: string;
  readonly port: number;
  /** Chooses the backend where Baton routes. */
  readonly host: string;
}

export type ClientWish =
  | { readonly kind: "download"; readonly target: Target; readonly file: string }
  | {
      readonly kind: "upload";
      readonly target: Target;
      readonly connections: number;
      readonly ms: number;
    }
  | {
      readonly kind: "idle";
      readonly target: Target;
      readonly connections: number;
      readonly ms: number;
    };

export interface ClientResult {
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
}

const READ_BYTES = 1 << 20;
const BODY = Buffer.alloc(1 << 20, "baton ");
const ANSWER_END = "ok\n";
/** Connections that are being opened at once. */
const OPENING = 64;

export const CLIENT = new URL(import.meta.url);

async function run(wish: ClientWish): Promise<void> {
  if (wish.kind === "download") say(await download(wish.target, wish.file));
  else if (wish.kind === "upload") say(await upload(wish.target, wish.connections, wish.ms));
  else await idle(wish.target, wish.connections, wish.ms);
}

/** One connection, one file, from connect() to the last byte. */
async function download(target: Target, file: string): Promise<ClientResult> {
  const wanted = FILES[file] ?? NaN;
  const started = performance.now();
  let received = 0;
  let headBytes = -1;
  await new Promise<void>((resolve, reject) => {
    const callback = (length: number, buffer: Uint8Array): boolean => {
      received += length;
      if (headBytes < 0) {
        const end = Buffer.from(buffer.buffer, buffer.byteOffset, length).indexOf("\r\n\r\n");
        if (end < 0) reject(new Error("the head of the answer came in parts"));
        headBytes = end + 4;
      }
      if (received - headBytes === wanted) resolve();
      return true;
    };
    const onread = { buffer: Buffer.allocUnsafeSlow(READ_BYTES), callback };
    const socket = connect({ host: target.address, port: target.port, onread });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`the end after ${received} bytes`)));
    socket.write(`GET /${file} HTTP/1.1\r\nHost: ${target.host}\r\n\r\n`);
  });
  return { requests: 1, bytes: wanted, seconds: (performance.now() - started) / 1000 };
}

/** Kept-alive connections, each with one body after the other. What is under way at the end counts not. */
async function upload(target: Target, connections: number, ms: number): Promise<ClientResult> {
  let requests = 0;
  const started = performance.now();
  const one = async (): Promise<void> => {
    const socket = await open(target);
    const head = `PUT /up HTTP/1.1\r\nHost: ${target.host}\r\nContent-Length: ${BODY.length}\r\n\r\n`;
    while (performance.now() - started < ms) {
      socket.cork();
      socket.write(head);
      const sent = new Promise((resolve) => socket.write(BODY, resolve));
      socket.uncork();
      await Promise.all([sent, answer(socket)]);
      requests += 1;
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: connections }, one));
  const seconds = (performance.now() - started) / 1000;
  return { requests, bytes: requests * BODY.length, seconds };
}

/** Opens connections, asks once on each, says so, and keeps them for a while. */
async function idle(target: Target, connections: number, ms: number): Promise<void> {
  const started = performance.now();
  const sockets: Socket[] = [];
  let asked = 0;
  const opener = async (): Promise<void> => {
    while (asked < connections) {
      asked += 1;
      const socket = await open(target);
      socket.write(`PUT /up HTTP/1.1\r\nHost: ${target.host}\r\nContent-Length: 0\r\n\r\n`);
      await answer(socket);
      sockets.push(socket);
    }
  };
  await Promise.all(Array.from({ length: OPENING }, opener));
  say({ requests: connections, bytes: 0, seconds: (performance.now() - started) / 1000 });
  await wait(ms);
  const alive = sockets.filter((socket) => !socket.destroyed && !socket.readableEnded).length;
  if (alive < connections) throw new Error(`idle: ${connections - alive} connections were closed`);
  for (const socket of sockets) socket.resetAndDestroy();
  await wait(200); // The resets leave before this process does.
}

async function open({ address, port }: Target): Promise<Socket> {
  const socket = connect({ host: address, port, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return socket;
}

function answer(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    const end = (error?: Error): void => {
      socket.off("data", take).off("close", closed).off("error", end);
      if (error) reject(error);
      else resolve();
    };
    const closed = (): void => end(new Error(`closed before the answer; got ${text.slice(0, 80)}`));
    const take = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!text.includes("\r\n\r\n") || !/(ok\n|0\r\n\r\n)$/.test(text)) return;
      const isGood = text.startsWith("HTTP/1.1 200") && text.includes(ANSWER_END);
      end(isGood ? undefined : new Error(`expected status 200, got ${text.slice(0, 80)}`));
    };
    socket.on("data", take).on("close", closed).on("error", end);
  });
}

runAsScript(import.meta.url, run);
