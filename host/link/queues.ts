/**
 * A TUN device with several queues, held open for others to read: opened in order, steered, configured. Knows the
 * device's life and its steering program; must not know who reads a queue, nor packets. docs/queues.md
 */
import { setTimeout as wait } from "node:timers/promises";
import { BatonError } from "../errors.ts";
import { loadProgram, ProgramType } from "../linux/bpf.ts";
import { openTunDevice, setPersistent, setSteering } from "../linux/device.ts";
import { libc } from "../linux/libc.ts";
import {
  createCounters,
  queueProgram,
  readCounters,
  type Queues,
  type UnsteeredCounters,
} from "../linux/queues.ts";
import type { Route } from "../linux/route.ts";
import { claimDevice, setUpDevice, tearDownDevice } from "../linux/setup.ts";
import { TUN_DEFAULTS } from "./tun.ts";

export interface TunQueuesOptions extends Queues {
  readonly name: string;
  readonly mtu?: number | undefined;
  /** The device, its routes and settings survive this process. */
  readonly persist: boolean;
  readonly offload: boolean;
  readonly routes: readonly Route[];
}

export interface TunQueues {
  readonly name: string;
  readonly mtu: number;
  /** A descriptor of each queue, by its number; they stay open, so that no number changes. */
  readonly fds: readonly number[];
  readonly counters: UnsteeredCounters;
  /** The device shall go with `close` after all, unless it was there before. */
  forget(): void;
  close(): void;
}

/** For readers of a predecessor that was killed: they leave when they notice. */
const PREDECESSOR_LIMIT_MS = 5_000;
const LOOK_MS = 20;

/** As many queues as `tunnels` has rows. */
export async function openTunQueues(options: TunQueuesOptions): Promise<TunQueues> {
  const { name, persist, offload, routes, tunnels } = options;
  const { queueLen } = TUN_DEFAULTS;
  const mtu = options.mtu ?? TUN_DEFAULTS.mtu;
  const found = await claim(name);
  let stays = persist;
  const fds: number[] = [];
  const close = (fd: number): void => libc().close(fd);
  const counters = createCounters();
  try {
    const device = { name, kind: "tun", vnetHeader: true, offload, multiQueue: true } as const;
    while (fds.length < tunnels.length) fds.push(openTunDevice(device).fd);
    const [first] = fds as [number];
    steer(first, options, counters);
    setUpDevice({ name, mtu, queueLen, routes, forward: true });
    // Last: what fails before leaves no device behind.
    setPersistent(first, persist);
  } catch (error) {
    [...fds, counters].forEach(close);
    throw error;
  }
  return {
    name,
    mtu,
    fds,
    get counters() {
      return readCounters(counters);
    },
    forget: () => {
      if (found) return;
      setPersistent(fds[0] as number, false);
      stays = false;
    },
    close: () => {
      try {
        if (!stays) tearDownDevice(name, routes);
      } finally {
        [...fds, counters].forEach(close);
      }
    },
  };
}

/** The device keeps the program, and the program its map. */
function steer(fd: number, queues: Queues, counters: number): void {
  const program = loadProgram(queueProgram(queues, counters), ProgramType.FILTER);
  try {
    setSteering(fd, program);
  } finally {
    libc().close(program);
  }
}

/** True: it is there already. */
async function claim(name: string): Promise<boolean> {
  const untilMs = performance.now() + PREDECESSOR_LIMIT_MS;
  for (;;) {
    try {
      return claimDevice(name, true);
    } catch (error) {
      const isBusy = error instanceof BatonError && error.code === "EBUSY";
      if (!isBusy || performance.now() >= untilMs) throw error;
      await wait(LOOK_MS);
    }
  }
}
