/** The watcher that needs a thread: it reports as long as something can be read, at once or after a pause. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AF_UNIX, libc, SOCK_NONBLOCK, SOCK_STREAM } from "../../host/linux/libc.ts";
import { pauseAfter, watchByWorker } from "../../host/linux/watcher.ts";

const watcher = suite("link/watcher");

/** When a socket is reported that always has something to read; after each report the next pause is asked for. */
async function reports(pausesUs: readonly number[]): Promise<number[]> {
  const c = libc();
  const [fd, other] = c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const byte = new Uint8Array(new ArrayBuffer(1));
  c.write(other, c.address(byte), 1);
  const times: number[] = [];
  let close = (): void => undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const watched = watchByWorker(fd, {
        readable: () => {
          times.push(performance.now());
          const pauseUs = pausesUs[times.length - 1];
          if (pauseUs === undefined) resolve();
          else watched.drained(pauseUs);
          return true;
        },
        failed: reject,
      });
      close = () => watched.close();
    });
  } finally {
    close();
    c.close(fd);
    c.close(other);
  }
  return times;
}

watcher("reports again and again while something can be read", async () => {
  assert.is((await reports(new Array<number>(50).fill(0))).length, 51);
});

watcher("keeps the pause that it was asked for, and only then", async () => {
  const pauseUs = 100_000;
  const times = await reports([0, pauseUs, 0]);
  const [, asked = NaN, next = NaN] = times;
  // A timed wait may be measured by another clock: half of it is no coincidence.
  assert.ok(next - asked >= pauseUs / 2000, `${next - asked} ms`);
  assert.is(times.length, 4);
});

watcher("lets nobody wait for a pause but those who come in crowds", () => {
  assert.equal([0, 1, 15].map(pauseAfter), [0, 0, 0]);
  assert.ok(pauseAfter(16) > 0 && pauseAfter(1024) <= 100);
});

watcher.run();
