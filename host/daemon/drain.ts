/**
 * `baton drain` and `baton undrain`: gives the order to the forwarder on this machine and follows it to its
 * end. Knows what the answers mean for an operator; must not know the socket, nor how connections move.
 */
import { basename, join } from "node:path";
import { controlPath } from "../config/flags.ts";
import { askControl, servedSockets } from "../control/client.ts";
import type { ControlAnswer, ControlProgress } from "../control/protocol.ts";
import { BatonError } from "../errors.ts";
import { jsonLine } from "../observe/json.ts";

export interface DrainOptions {
  readonly backend: string;
  readonly undo: boolean;
  /** The forwarder's socket; the only one in the default folder without it. */
  readonly control: string | undefined;
  /** Also for connections that cannot move, until they end. */
  readonly wait: boolean;
  readonly timeoutMs: number | undefined;
  readonly json: boolean;
}

/** Without --wait: connections that are busy get this time to become idle. */
const TIMEOUT_MS = 30_000;
/** A backend that lives confirms within a heartbeat or two. */
const CONFIRM_MS = 5_000;

/** Exit status: 0 when it is empty, or takes connections again; 1 when connections are left. */
export async function drain(options: DrainOptions, print: (text: string) => void): Promise<number> {
  const { backend, undo, json } = options;
  const path = options.control ?? (await onlySocket());
  const request = { do: undo ? "undrain" : "drain", backend } as const;
  const follower = new Follower(options, json ? print : () => undefined);
  const end = await follower.follow((take) => askControl(path, request, take));
  const { open, moved, lost, remaining } = end;
  const isDone = undo || open === 0;
  if (json) {
    print(
      jsonLine({ event: undo ? "undrained" : "drained", backend, open, moved, lost, remaining }),
    );
  } else if (undo) print(`${backend} takes connections again; ${open} are there\n`);
  else print(summary(end));
  return isDone ? 0 : 1;
}

/** Until there is nothing more to wait for. */
class Follower {
  #last: ControlProgress | undefined = undefined;

  constructor(
    private readonly options: DrainOptions,
    private readonly tell: (line: string) => void,
  ) {}

  async follow(
    ask: (take: (answer: ControlAnswer) => boolean) => Promise<void>,
  ): Promise<ControlProgress> {
    const { backend, wait, timeoutMs = wait ? undefined : TIMEOUT_MS } = this.options;
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number, isOver: () => boolean): Promise<void> =>
      new Promise((resolve) => timers.push(setTimeout(() => isOver() && resolve(), ms)));
    const ends = [ask((answer) => this.#take(answer))];
    ends.push(after(CONFIRM_MS, () => this.#last?.confirmed !== true));
    if (timeoutMs !== undefined) ends.push(after(timeoutMs, () => true));
    try {
      await Promise.race(ends);
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
    if (this.#last?.confirmed !== true) {
      throw new BatonError("ERR_BATON_CONTROL", `${backend}: expected its answer, got none`);
    }
    return this.#last;
  }

  /** True: this was the last one. */
  #take(answer: ControlAnswer): boolean {
    if (answer.event === "error") throw new BatonError("ERR_BATON_USAGE", answer.message);
    this.#last = answer;
    this.tell(jsonLine({ ...answer }));
    const { undo, wait } = this.options;
    if (!answer.confirmed) return false;
    if (undo) return !answer.draining;
    if (!answer.draining) return false;
    const stuck = answer.remaining.filter(({ isFinal }) => isFinal);
    const stuckCount = stuck.reduce((sum, { count }) => sum + count, 0);
    return answer.open === 0 || (!wait && answer.moving === 0 && stuckCount >= answer.open);
  }
}

function summary({ backend, open, moved, lost, remaining }: ControlProgress): string {
  const lines = [
    `${backend}: ${moved} moved, ${open} left${lost > 0 ? `, ${lost} lost on the way` : ""}`,
    ...remaining.map(({ reason, count }) => `  ${count} of them: ${reason}`),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** Most machines run one forwarder; its name need not be said. */
async function onlySocket(): Promise<string> {
  const folder = join(controlPath("x"), "..");
  const paths = await servedSockets(folder);
  const [only] = paths;
  if (only !== undefined && paths.length === 1) return only;
  const got = paths.length === 0 ? "none" : paths.map((path) => basename(path)).join(", ");
  throw new BatonError(
    "ERR_BATON_USAGE",
    `--control: expected one socket in ${folder} that a forwarder serves, got ${got}`,
  );
}
