/** What a script is, and how it is run against a stack. */
import type { SocketOptions, Stack } from "./stack.ts";
import { Talk } from "./talk.ts";

export interface Script {
  /** A sentence without its subject: "answers a RST inside the window with a challenge ACK". */
  readonly name: string;
  readonly family?: 4 | 6;
  readonly socket?: SocketOptions;
  /** Nobody listens: the script opens from the stack's side, or meets a closed port. */
  readonly silent?: boolean;
  /** ISS of the peer, where the default would not do. */
  readonly iss?: number;
  readonly run: (talk: Talk) => void | Promise<void>;
}

/** Runs a script; returns what happened, a line each. */
export async function play(script: Script, stack: Stack): Promise<string[]> {
  const talk = new Talk(stack, script.iss);
  try {
    await script.run(talk);
    return talk.lines;
  } finally {
    stack.end();
  }
}
