/**
 * An operator's side of the control socket: sends one request, hands out the answers. Knows unix sockets and
 * lines; must not know commands.
 */
import { readdirSync } from "node:fs";
import * as net from "node:net";
import { join } from "node:path";
import { BatonError } from "../errors.ts";
import { probeSocket } from "./probe.ts";
import { LINE_MAX, parseAnswer, type ControlAnswer, type ControlRequest } from "./protocol.ts";

/** Characters of a line that was no answer. */
const SHOWN_MAX = 60;

/**
 * Settles when `take` returns true for an answer.
 * @throws BatonError ERR_BATON_CONTROL when nobody serves the socket, the daemon ends, or something else answers
 */
export async function askControl(
  path: string,
  request: ControlRequest,
  take: (answer: ControlAnswer) => boolean,
): Promise<void> {
  const socket = net.connect(path);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", (error: NodeJS.ErrnoException) => reject(connectFault(path, error)));
      socket.once("close", () => reject(fault(path, "the daemon closed it")));
      const line = (text: string): void => {
        const answer = parseAnswer(text);
        if (!answer) {
          const got = JSON.stringify(text.slice(0, SHOWN_MAX));
          throw fault(path, `expected an answer, got ${got}`);
        }
        if (take(answer)) resolve();
      };
      let rest = "";
      socket.setEncoding("utf8");
      socket.on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        try {
          for (const text of lines) line(text);
          if (rest.length < LINE_MAX) return;
          throw fault(path, `expected an answer, got a line of more than ${LINE_MAX} bytes`);
        } catch (error) {
          socket.pause();
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
      socket.write(JSON.stringify(request) + "\n");
    });
  } finally {
    socket.destroy();
  }
}

/** The sockets of a folder, without those that a daemon left which was killed. */
export async function servedSockets(folder: string): Promise<string[]> {
  let names: string[] = [];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith(".sock"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const paths = names.map((name) => join(folder, name));
  const faults = await Promise.all(paths.map((path) => probeSocket(path)));
  return paths.filter((_, at) => !["ECONNREFUSED", "ENOENT"].includes(faults[at]?.code ?? ""));
}

function connectFault(path: string, { code, message }: NodeJS.ErrnoException): BatonError {
  if (code === "ENOENT" || code === "ECONNREFUSED") return fault(path, "no forwarder serves it");
  if (code === "EACCES") return fault(path, "only its owner may use it");
  return fault(path, message);
}

function fault(path: string, what: string): BatonError {
  return new BatonError("ERR_BATON_CONTROL", `control socket ${path}: ${what}`);
}
