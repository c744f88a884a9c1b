/**
 * A talk with a script of ours on a node: what to do, "ready", then an answer for each question. Both ends of it.
 * Knows processes and JSON lines; must not know what is said.
 */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { LabNode } from "../../host/lab/lab.ts";
import { startScript } from "../../host/lab/peers.ts";
import { endWith, say } from "../../host/lab/script.ts";

export interface Dialog<Answer> {
  ask(): Promise<Answer>;
  /** Settles when the script has ended. */
  close(): Promise<void>;
}

/** Starts the script; resolves when it is ready for questions. */
export async function openDialog<Answer>(
  node: LabNode,
  script: URL,
  input: unknown,
): Promise<Dialog<Answer>> {
  const { child, stderr } = startScript(node, fileURLToPath(script));
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error("a script without pipes");
  const ended = once(child, "close");
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const tell = async (what: unknown): Promise<unknown> => {
    stdin.write(JSON.stringify(what) + "\n");
    const { value, done } = await lines.next();
    if (done === true) {
      await ended;
      throw new Error(`${node.name}: ${stderr().trim() || "the script ended"}`);
    }
    return JSON.parse(value) as unknown;
  };
  await tell(input);
  return {
    ask: async () => (await tell({})) as Answer,
    close: async () => {
      stdin.end();
      await ended;
    },
  };
}

/**
 * The inner end, where `url` is the program that was started: `begin` gets the input and returns what answers a
 * question. The process ends with its input, with status 1 and the error on standard error when something fails.
 */
export function runAsDialog<Input>(
  url: string,
  begin: (input: Input) => Promise<() => unknown> | (() => unknown),
): void {
  if (process.argv[1] !== fileURLToPath(url)) return;
  const talk = async (): Promise<void> => {
    let answer: (() => unknown) | undefined;
    for await (const line of createInterface({ input: process.stdin })) {
      if (answer !== undefined) say(answer());
      else {
        answer = await begin(JSON.parse(line) as Input);
        say({ ready: true });
      }
    }
  };
  endWith(talk());
}
