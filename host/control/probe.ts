/** Whether somebody listens at a unix socket. Knows connecting; must not know what is said there. */
import * as net from "node:net";

/** Undefined when somebody does, otherwise why not: ECONNREFUSED is of a process that was killed. */
export function probeSocket(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const probe = net.connect(path, () => (probe.destroy(), resolve(undefined)));
    probe.on("error", resolve);
  });
}
