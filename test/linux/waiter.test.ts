/** The thread that polls for the loop, driven word by word. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AF_UNIX, libc, SOCK_NONBLOCK, SOCK_STREAM } from "../../host/linux/libc.ts";
import { WAITER, WAITER_BYTES, type WaiterData } from "../../host/linux/waiter.ts";
import { until } from "../support/wait.ts";

const waiter = suite("waiter of the watcher");

waiter("takes a late notification for what it is, and reports on", async () => {
  const c = libc();
  const byte = new Uint8Array(new ArrayBuffer(8));
  const [watched, other] = c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const [wake, wakeFd] = c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const [stop, stopFd] = c.socketpair(AF_UNIX, SOCK_STREAM, 0);
  const state = new Int32Array(new SharedArrayBuffer(WAITER_BYTES));
  const workerData: WaiterData = { state, fd: watched, stopFd, wakeFd };
  const worker = new Worker(new URL("../../host/linux/waiter.js", import.meta.url), { workerData });
  let ended = false;
  const end = once(worker, "exit").then(() => (ended = true));
  const reports = (): boolean => c.read(wake, c.address(byte), 1) === 1;

  c.write(other, c.address(byte), 1);
  await until("a report", reports);
  // It sleeps now, or is about to: wakes it again and again, though nothing was read.
  for (let round = 0; round < 100; round += 1) {
    Atomics.notify(state, WAITER.STATE);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until("it to sleep", () => Atomics.notify(state, WAITER.STATE) === 1);
  assert.is(ended, false);
  assert.is(reports(), false, "there is nothing new to say");
  assert.is(Atomics.exchange(state, WAITER.STATE, WAITER.ARMED), WAITER.REPORTED);
  Atomics.notify(state, WAITER.STATE);
  await until("another report", reports);

  Atomics.store(state, WAITER.STATE, WAITER.STOP);
  Atomics.notify(state, WAITER.STATE);
  c.close(stop);
  await end;
  for (const fd of [watched, other, wake, stopFd]) c.close(fd);
});

waiter.run();
