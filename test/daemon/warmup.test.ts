import { suite } from "uvu";
import * as assert from "uvu/assert";
import { warmUp } from "../../host/daemon/warmup.ts";
import { createCipher } from "../../host/link/cipher.ts";
import { openUdp, type UdpSocket } from "../../host/link/udp.ts";
import type { Log } from "../../host/node/environment.ts";

const warmup = suite("a node's warm-up");

const SILENT: Log = { write: () => undefined };
/** Ends only what hangs. */
const LIMIT_MS = 120_000;

/** Sockets that are counted. */
function counted(): { open: () => Promise<UdpSocket>; opened: UdpSocket[]; closed: UdpSocket[] } {
  const opened: UdpSocket[] = [];
  const closed: UdpSocket[] = [];
  const open = async (): Promise<UdpSocket> => {
    const socket = await openUdp({ listen: { address: "127.0.0.1", port: 0 } });
    opened.push(socket);
    const close = socket.close.bind(socket);
    socket.close = () => {
      closed.push(socket);
      close();
    };
    return socket;
  };
  return { open, opened, closed };
}

warmup("passes large messages on over loopback, and leaves no socket", async () => {
  const { open, opened, closed } = counted();
  const { done } = warmUp({ cipher: createCipher(), log: SILENT, limitMs: LIMIT_MS, open });
  assert.is(await done, true);
  assert.is(opened.length, 3);
  assert.equal(new Set(closed), new Set(opened));
  const received = opened.map(({ counters }) => counters["received"] ?? 0);
  const datagrams = (8 * 1_048_576) / 1_336;
  const through = received.filter((count) => count >= datagrams);
  assert.is(through.length, 2, `forwarder and target get all of it: ${received.join(", ")}`);
});

warmup("ends at once with its node, at any moment", async () => {
  for (const turns of [0, 1, 2, 3, 5, 8, 20, 60]) {
    const { open, opened, closed } = counted();
    const it = warmUp({ cipher: createCipher(), log: SILENT, limitMs: LIMIT_MS, open });
    for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
    it.close();
    it.close();
    assert.is(await it.done, false);
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
    assert.equal(new Set(closed), new Set(opened), `after ${turns} turns`);
  }
});

warmup("closes a socket that is opened while it is being closed", async () => {
  for (const before of [0, 1, 2]) {
    const { open, opened, closed } = counted();
    let asked: () => void = () => undefined;
    const isAsked = new Promise<void>((resolve) => (asked = resolve));
    let give: () => void = () => undefined;
    const isGiven = new Promise<void>((resolve) => (give = resolve));
    const late = async (): Promise<UdpSocket> => {
      if (opened.length < before) return open();
      asked();
      await isGiven;
      return open();
    };
    const it = warmUp({ cipher: createCipher(), log: SILENT, limitMs: LIMIT_MS, open: late });
    await isAsked;
    it.close();
    assert.is(await it.done, false);
    assert.is(closed.length, before);
    give();
    while (opened.length === before) await new Promise(setImmediate);
    await new Promise(setImmediate); // What waits for the socket has gone on by then.
    assert.is(opened.length, before + 1, "and opens no other");
    assert.equal(new Set(closed), new Set(opened), `${before} opened before`);
  }
});

warmup("where nothing arrives it gives up in time, where nothing opens at once", async () => {
  const said: string[] = [];
  const log: Log = { write: (_level, message) => said.push(message) };
  const { open, opened, closed } = counted();
  const deaf = async (): Promise<UdpSocket> => {
    const socket = await open();
    socket.sendAll = () => undefined;
    return socket;
  };
  const cipher = createCipher();
  assert.is(await warmUp({ cipher, log, limitMs: 30, open: deaf }).done, false);
  assert.equal(new Set(closed), new Set(opened));
  const none = (): Promise<UdpSocket> => Promise.reject(new Error("no socket"));
  assert.is(await warmUp({ cipher, log, limitMs: LIMIT_MS, open: none }).done, false);
  assert.equal(said, ["no warm-up: no socket"]);
});

warmup.run();
