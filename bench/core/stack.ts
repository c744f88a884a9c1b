/**
 * The stack: connections from the handshake to the end, bulk data, handoffs, SYN cookies. Both ends in one
 * process and thread, and their work counts together; every checksum is made and verified by the core. Rates are
 * by processor time: alone on a machine that is the same as by the clock.
 */
import { compile, setMapping } from "../../test/blob/mover.ts";
import { Clients } from "../../test/support/clients.ts";
import { CLIENT, SERVER, Station, cpuSeconds, median, nowUs } from "./wire.ts";

const REQUEST = 64;
const CLIENT_PORTS = 900;
const SERVER_PORTS = 100;
const FIRST_PORT = 1024;
const TIME_WAIT = 65_536;
export const AT_ONCE = 64;
const INDEX_MASK = (1 << 21) - 1;
const EVENT = { ACCEPTED: 1, CONNECTED: 2, READABLE: 3, ENDED: 5, CLOSED: 6 } as const;

const COMMON = { recordsMax: 1024, mappings4Max: 16, mappings6Max: 16, blobBytes: 1 << 20 };

const portsFrom = (first: number, count: number) =>
  Array.from({ length: count }, (_, at) => first + at);

/**
 * Connections a second: handshake, 64 bytes there and back, FIN both ways, TIME-WAIT kept by the client's end.
 * The clock is real, no 4-tuple comes back while its record could still be there.
 * @param others established connections beside these
 */
export function connectionsPerSecond(others: number, rounds: number, each: number): number {
  const station = new Station({
    ...COMMON,
    connectionsMax: others + 4096,
    timeWaitMax: TIME_WAIT,
    halfOpenMax: others + 4096,
    bufferBytes: 64 << 20,
    slotBytes: 2048,
  });
  station.serve(CLIENT, portsFrom(FIRST_PORT, CLIENT_PORTS), false);
  station.serve(SERVER, portsFrom(1, SERVER_PORTS), true);
  if (others > 0) new Clients(station.core, others).open(nowUs());
  const run = new Connections(station);
  run.many(each);
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) {
    rates.push(each / cpuSeconds(() => run.many(each)));
  }
  return median(rates);
}

class Connections {
  #next = 0;
  #done = 0;
  readonly #station: Station;
  /** By index of the handle: opened here, not accepted. */
  readonly #isClient = new Uint8Array(INDEX_MASK + 1);

  constructor(station: Station) {
    this.#station = station;
    for (const [name, value] of Object.entries(EVENT)) {
      if (station.core.constant(`EventType.${name}`) !== value)
        throw new Error(`EventType.${name}`);
    }
  }

  /** Begins and ends so many, AT_ONCE at a time. */
  many(count: number): void {
    const station = this.#station;
    const target = this.#done + count;
    let open = count;
    let running = 0;
    for (let turns = 0; this.#done < target; turns++) {
      if (turns > count * 20) throw new Error("connections do not end");
      const now = nowUs();
      const before = this.#done;
      for (; running < AT_ONCE && open > 0; running++, open--) this.#open(now);
      while (station.f.loopback(now) > 0);
      this.#events(now);
      running -= this.#done - before;
    }
  }

  #open(now: number): void {
    const index = this.#next++;
    const local = FIRST_PORT + (index % CLIENT_PORTS);
    const remote = 1 + (Math.floor(index / CLIENT_PORTS) % SERVER_PORTS);
    const handle = this.#station.connect(local, remote, now);
    this.#isClient[handle & INDEX_MASK] = 1;
  }

  /** The client asks, reads the answer and closes first; the server answers, and closes when the client has. */
  #events(now: number): void {
    const station = this.#station;
    const { f } = station;
    for (let type = station.poll(); type !== 0; type = station.poll()) {
      const { handle } = station;
      const isClient = this.#isClient[handle & INDEX_MASK] === 1;
      if (type === EVENT.CONNECTED) {
        f.reserve(handle);
        f.commit(handle, REQUEST, now);
      } else if (type === EVENT.READABLE) {
        const len = f.readable(handle, 0);
        if (len <= 0) continue;
        f.consume(handle, len, now);
        if (isClient) f.shutdown(handle, now);
        else {
          f.reserve(handle);
          f.commit(handle, len, now);
        }
      } else if (type === EVENT.ENDED) {
        if (!isClient) f.shutdown(handle, now);
      } else if (type === EVENT.CLOSED) {
        f.release(handle);
        if (!isClient) continue;
        this.#isClient[handle & INDEX_MASK] = 0;
        this.#done += 1;
      }
    }
  }
}

/**
 * Gbit/s of payload over one connection, written by one end and read by the other.
 * @param mtu 1500: full segments of 1,460 bytes less options; 65,535: segments as large as GSO makes them
 * @param offload as a TUN device with virtio_net_hdr: super-segments, and nobody sums the payload
 * @param windowBytes of either buffer: what is in flight fits the processor's second cache, or does not
 */
export function bulkGbit(
  { mtu, offload, windowBytes }: { mtu: number; offload: boolean; windowBytes: number },
  rounds: number,
  bytes: number,
): number {
  const station = new Station({
    ...COMMON,
    mtu,
    segmenting: offload ? 1 : 0,
    connectionsMax: 64,
    bufferBytes: 64 << 20,
    slotBytes: mtu > 2048 || offload ? 65_536 : 2048,
    sndBufferMax: windowBytes,
    rcvBufferMax: windowBytes,
  });
  station.serve(CLIENT, [5000], false);
  station.serve(SERVER, [80], true);
  const { f } = station;
  let now = nowUs();
  const from = station.connect(5000, 80, now);
  while (f.loopback(now) > 0);
  const to = accepted(station);
  const data = new Uint8Array(4096).map((_, at) => at * 7);
  const rates: number[] = [];
  const transfer = (): void => {
    for (let moved = 0; moved < bytes;) {
      now = nowUs();
      for (let len = f.reserve(from); len > 0; len = f.reserve(from)) {
        station.bytes.set(len === data.length ? data : data.subarray(0, len), station.span);
        f.commit(from, len, now);
      }
      f.loopback(now);
      for (let len = f.readable(to, 0); len > 0; len = f.readable(to, 0)) {
        f.consume(to, len, now);
        moved += len;
      }
      f.handleTimeout(now);
      while (station.poll() !== 0);
    }
  };
  transfer(); // The window grows in this one.
  for (let round = 0; round < rounds; round++) rates.push((bytes * 8) / cpuSeconds(transfer) / 1e9);
  return median(rates);
}

function accepted(station: Station): number {
  let handle = 0;
  for (let type = station.poll(); type !== 0; type = station.poll()) {
    if (type === EVENT.ACCEPTED) handle = station.handle;
  }
  if (handle === 0) throw new Error("not accepted");
  return handle;
}

/**
 * Microseconds for one move of a connection with 1 KiB unread: freeze, compile, copy, infuse, discard.
 * @param unbundled the blob is unbundled before, as a node does that asks whether it wants it: verified twice
 */
export function handoffUs(unbundled: boolean, rounds: number, each: number): number {
  const sizes = { ...COMMON, connectionsMax: 64, bufferBytes: 8 << 20, slotBytes: 2048 };
  const first = new Station(sizes);
  const second = new Station(sizes);
  first.serve(CLIENT, [5000], false);
  for (const station of [first, second]) station.serve(SERVER, [80], true);
  const now = nowUs();
  const from = first.connect(5000, 80, now);
  while (first.f.loopback(now) > 0);
  let handle = accepted(first);
  first.f.reserve(from);
  first.f.commit(from, 1024, now);
  while (first.f.loopback(now) > 0);
  if (first.f.readableLength(handle) !== 1024) throw new Error("the request is not there");
  for (const { core } of [first, second]) setMapping(core);
  first.f.freeze(handle);
  const length = compile(first.core, handle, now).length;
  first.f.thaw(handle, now);
  const views = [first, second].map(({ core, bytes }) => {
    return new Uint8Array(bytes.buffer, core.f.blobPtr!(), length);
  });
  const stations = [first, second];
  const times: number[] = [];
  const moveAll = (): void => {
    for (let turn = 0; turn < each; turn++) {
      const source = stations[turn & 1]!.f;
      const target = stations[1 - (turn & 1)]!;
      const at = now + turn;
      source.freeze(handle);
      if (source.compile(handle, at) !== length) throw new Error("compile");
      views[1 - (turn & 1)]!.set(views[turn & 1]!);
      if (unbundled && target.f.unbundle(length) !== 0) throw new Error("unbundle");
      const moved = target.f.infuse(length, 0, at);
      if (moved <= 0) throw new Error(`infuse returned ${moved}`);
      source.discard(handle);
      while (target.poll() !== 0);
      handle = moved;
    }
  };
  moveAll(); // Compilers warm up.
  for (let round = 0; round < rounds; round++) times.push((cpuSeconds(moveAll) * 1e6) / each);
  return median(times);
}

/** Million SYNs a second, checksum verified, each answered by a SYN-ACK with a cookie that is ready to leave. */
export function synMpps(rounds: number): number {
  const COUNT = 1 << 15;
  const station = new Station({ ...COMMON, connectionsMax: 64, halfOpenMax: 0, slotBytes: 2048 });
  const clients = new Clients(station.core, COUNT);
  const batch = station.core.constant("BATCH_MAX");
  const { handlePackets, pollTransmit } = station.f;
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (let first = 0; first < COUNT; first += batch) {
      clients.fillSyns(first);
      const started = process.hrtime.bigint();
      handlePackets(batch, 2e6);
      const answers = pollTransmit(2e6);
      times.push(Number(process.hrtime.bigint() - started) / batch);
      if (answers !== batch) throw new Error(`${answers} answers`);
    }
  }
  return 1000 / median(times);
}
