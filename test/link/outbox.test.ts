import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Outbox } from "../../host/link/outbox.ts";
import { sockaddr } from "../../host/linux/address.ts";
import * as errno from "../../host/linux/errno.ts";
import { AF_INET, libc, SOCK_DGRAM, SOCK_NONBLOCK } from "../../host/linux/libc.ts";
import { MessageArray } from "../../host/linux/mmsg.ts";
import { until } from "../support/wait.ts";

const outbox = suite("outbox");
const open: Socket[] = [];
outbox.after.each(() => {
  for (const socket of open.splice(0)) socket.close();
});

/** Answers the first call of a kind with an error, as kernels and paths do. */
class Failing extends MessageArray {
  calls = 0;
  segmented = 0;
  readonly #fails: (messages: Failing) => number;

  constructor(fails: (messages: Failing) => number) {
    super(64);
    this.#fails = fails;
  }

  override segment(index: number, length: number): void {
    if (length > 0) this.segmented += 1;
    super.segment(index, length);
  }

  override send(fd: number, first: number, end: number): number {
    this.calls += 1;
    const error = this.#fails(this);
    return error > 0 ? -error : super.send(fd, first, end);
  }
}

interface Line {
  readonly it: Outbox;
  readonly seen: { refused: number; failed: number; later: number };
  readonly arrived: Buffer[];
}

async function line(out: MessageArray = new MessageArray(64)): Promise<Line> {
  const far = createSocket("udp4");
  open.push(far);
  far.bind(0, "127.0.0.1");
  await once(far, "listening");
  const arrived: Buffer[] = [];
  far.on("message", (bytes) => arrived.push(bytes));
  const fd = libc().socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  libc().bind(fd, sockaddr("127.0.0.1", 0));
  const socket = createSocket("udp4");
  open.push(socket);
  socket.bind({ fd });
  socket.connect(far.address().port, "127.0.0.1");
  await once(socket, "connect");
  const seen = { refused: 0, failed: 0, later: 0 };
  const it = new Outbox(fd, out, {
    later: (bytes) => {
      seen.later += 1;
      socket.send(bytes);
    },
    refused: () => (seen.refused += 1),
    failed: () => (seen.failed += 1),
  });
  return { it, seen, arrived };
}

/** Datagrams of one slab, as the transport cuts them: alike, then shorter, then longer than before. */
function datagrams(): Uint8Array[] {
  const lengths = [...Array<number>(70).fill(700), 30, ...Array<number>(9).fill(900), 901, 64, 700];
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const slab = Uint8Array.from({ length: total }, (_, index) => index * 7 + (index >> 8));
  let at = 0;
  return lengths.map((length) => slab.subarray(at, (at += length)));
}

async function expectAll({ it, arrived }: Line): Promise<void> {
  const all = datagrams();
  for (const bytes of all) it.put(bytes);
  it.flush();
  await until("all datagrams came", () => arrived.length === all.length);
  assert.equal(
    arrived.map((bytes) => bytes.length),
    all.map((bytes) => bytes.length),
  );
  assert.ok(arrived.every((bytes, index) => Buffer.compare(bytes, all[index]!) === 0));
}

outbox(
  "datagrams that lie side by side leave as one message each run, and arrive as they were",
  async () => {
    const out = new Failing(() => 0);
    const one = await line(out);
    await expectAll(one);
    assert.ok(out.calls <= 3, `${out.calls} system calls for 83 datagrams`);
    assert.ok(out.segmented >= 3);
    assert.equal(one.seen, { refused: 0, failed: 0, later: 0 });
  },
);

outbox(
  "a kernel or a path that does not cut gets each datagram by itself from then on",
  async () => {
    for (const code of [errno.EIO, errno.EINVAL, errno.EMSGSIZE]) {
      const out = new Failing(({ calls }) => (calls === 1 ? code : 0));
      const one = await line(out);
      await expectAll(one);
      const { segmented } = out;
      one.arrived.length = 0;
      await expectAll(one);
      assert.is(out.segmented, segmented, "no further attempt");
      assert.equal(one.seen, { refused: 0, failed: 0, later: 0 });
    }
  },
);

outbox("what finds the socket's buffer full waits in order", async () => {
  const out = new Failing(({ calls }) => (calls === 2 ? errno.EAGAIN : 0));
  const one = await line(out);
  await expectAll(one);
  assert.ok(one.seen.later > 0);
});

outbox("what the kernel refuses is told once for each datagram, and the rest leaves", async () => {
  const out = new Failing(({ calls }) => (calls === 1 ? errno.EPERM : 0));
  const { it, seen, arrived } = await line(out);
  for (const bytes of [1, 2, 3]) it.put(new Uint8Array(100).fill(bytes));
  it.flush();
  await until("two came", () => arrived.length === 2);
  assert.equal(
    arrived.map((bytes) => bytes[0]),
    [2, 3],
  );
  assert.equal(seen, { refused: 0, failed: 1, later: 0 });
});

outbox(
  "what an earlier datagram met is told in place of sending, and costs none of these",
  async () => {
    const out = new Failing(({ calls }) => (calls === 1 ? errno.ECONNREFUSED : 0));
    const one = await line(out);
    await expectAll(one);
    assert.equal(one.seen, { refused: 1, failed: 0, later: 0 });
  },
);

outbox.run();
