/** What a command needs of its own process: a wish to stop, and output that nobody may be reading. */

const SIGNALS: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** SIGHUP asks a daemon to read its keys again. */
export const DAEMON_SIGNALS: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM"];
const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/**
 * Aborted by the first SIGINT, SIGTERM or SIGHUP, with the signal's name as the reason. The second one
 * ends the process at once, as it would without us.
 */
export function stopSignal(signals: readonly NodeJS.Signals[] = SIGNALS): AbortSignal {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(128 + (SIGNAL_NUMBERS[signal] ?? 0));
    controller.abort(signal);
  };
  for (const signal of signals) process.on(signal, onSignal);
  return controller.signal;
}

/** Output that is piped to a program that has ended is lost; nothing else changes. */
export function ignoreBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}
