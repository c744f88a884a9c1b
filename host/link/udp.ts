/**
 * The UDP sockets under the transport. Knows dgram, buffer sizes and "port unreachable"; must not know
 * what a datagram holds. udp(7), RFC 1122 4.1.3.3.
 *
 * One socket is bound for everybody. Each peer that is watched gets a socket of its own, bound to the
 * same port and connected to it: only a connected socket is told by ICMP that nobody listens there, and
 * it sends without looking an address up. The first socket is bound before it allows sharing, so that a
 * second process is still told that the port is taken. dgram tells the loop of datagrams and of errors;
 * what a watched peer sends and is sent goes by system calls, all that waits at once.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { BatonError } from "../errors.ts";
import { isSameEnd, sockaddr } from "../linux/address.ts";
import { EAGAIN, ECONNREFUSED, EINTR, ENOBUFS, isUnavailable } from "../linux/errno.ts";
import {
  AF_INET,
  AF_INET6,
  libc,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "../linux/libc.ts";
import { MessageArray } from "../linux/mmsg.ts";
import type { Endpoint } from "../node/environment.ts";
import type { OutgoingDatagram } from "../transport/transport.ts";
import { Datagrams } from "./datagrams.ts";
import { Outbox } from "./outbox.ts";

export interface UdpOptions {
  /** Where to listen; port 0: any. */
  readonly listen: Endpoint;
  /** The kernel's receive buffer of each socket, as far as the system allows. */
  readonly receiveBufferBytes?: number;
  /** Datagrams that may wait for `receive`. */
  readonly waitingMax?: number;
}

export interface UdpSocket {
  /** Where it listens, the port known. */
  readonly local: Endpoint;
  /** What the kernel granted: usable bytes, of which a datagram of 1,400 takes about 2,300. */
  readonly receiveBufferBytes: number;
  /** Hands over waiting datagrams in the order of arrival, all or at most so many; returns how many. */
  receive(take: (from: Endpoint, bytes: Uint8Array) => void, most?: number): number;
  /** How many wait. */
  readonly waiting: number;
  /** The bytes must not change afterwards. Errors are counted, and those of watched peers reported. */
  send(datagram: OutgoingDatagram): void;
  /** The same with all that `next` gives until it gives none: many leave by one system call. */
  sendAll(next: () => OutgoingDatagram | undefined): void;
  /** From now on `onUnreachable` tells when nobody listens there. False: this system cannot. */
  watch(endpoint: Endpoint): Promise<boolean>;
  /** Calls back on the loop when datagrams begin to wait. */
  onReadable(callback: () => void): void;
  /** Calls back when a watched endpoint refused a datagram (ICMP port unreachable). */
  onUnreachable(callback: (endpoint: Endpoint) => void): void;
  close(): void;
  readonly counters: Readonly<Record<string, number>>;
}

interface Waiting {
  readonly from: Endpoint;
  readonly bytes: Uint8Array;
}

/** A socket that is connected to a peer. */
interface Watched {
  readonly endpoint: Endpoint;
  readonly socket: Socket;
  readonly name: Uint8Array;
  readonly fd: number;
  readonly io: Datagrams;
  readonly outbox: Outbox;
}

const SO_REUSEADDR = 2;
const RECEIVE_BUFFER_BYTES = 4 * 1_048_576;
/** At least as many as an outbox gathers. */
const OUTBOX_MESSAGES = 64;
const WAITING_MAX = 16_384;
const MAPPED = "::ffff:";

export async function openUdp(options: UdpOptions): Promise<UdpSocket> {
  const bytes = options.receiveBufferBytes ?? RECEIVE_BUFFER_BYTES;
  const { listen } = options;
  const { socket, isShared } = await bindFirst(listen, bytes);
  const { address, port } = socket.address();
  return new DgramUdp(
    socket,
    isShared,
    { address, port },
    bytes,
    options.waitingMax ?? WAITING_MAX,
  );
}

class DgramUdp implements UdpSocket {
  readonly local: Endpoint;
  readonly receiveBufferBytes: number;
  readonly counters = {
    received: 0,
    sent: 0,
    /** Arrived faster than they were taken. */
    receiveDropped: 0,
    sendErrors: 0,
    unreachable: 0,
  };
  readonly #first: Socket;
  readonly #isShared: boolean;
  readonly #bufferBytes: number;
  readonly #waitingMax: number;
  readonly #watched = new Map<string, Watched>();
  #io: Datagrams | undefined;
  #messages: MessageArray | undefined;
  #waiting: Waiting[] = [];
  #readable: () => void = () => undefined;
  #unreachable: (endpoint: Endpoint) => void = () => undefined;
  #isClosed = false;

  constructor(
    first: Socket,
    isShared: boolean,
    local: Endpoint,
    bufferBytes: number,
    waitingMax: number,
  ) {
    this.local = local;
    this.#first = first;
    this.#isShared = isShared;
    this.#bufferBytes = bufferBytes;
    this.#waitingMax = waitingMax;
    // The kernel doubles what it is asked for, to pay for its own bookkeeping (socket(7)).
    this.receiveBufferBytes = first.getRecvBufferSize() / 2;
    first.on("message", this.#take);
    first.on("error", () => (this.counters.sendErrors += 1));
  }

  receive(take: (from: Endpoint, bytes: Uint8Array) => void, most = Infinity): number {
    const all = this.#waiting;
    this.#waiting = [];
    const now = all.length > most ? all.splice(0, most) : all;
    if (now !== all) this.#waiting = all;
    for (const { from, bytes } of now) take(from, bytes);
    return now.length;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  send({ to, bytes }: OutgoingDatagram): void {
    if (this.#isClosed) return;
    this.counters.sent += 1;
    const watched = this.#watched.get(keyOf(to));
    if (watched) this.#sendTo(watched, bytes);
    else this.#first.send(bytes, to.port, this.#addressFor(to));
  }

  sendAll(next: () => OutgoingDatagram | undefined): void {
    const datagram = next();
    if (!datagram || this.#isClosed) return;
    const second = next();
    if (!second) return this.send(datagram); // Alone: nothing to gather.
    const used = new Set<Outbox>();
    this.#gather(datagram, used);
    for (let one: OutgoingDatagram | undefined = second; one; one = next()) {
      this.#gather(one, used);
    }
    for (const outbox of used) outbox.flush();
  }

  #gather(datagram: OutgoingDatagram, used: Set<Outbox>): void {
    const outbox = this.#watched.get(keyOf(datagram.to))?.outbox;
    if (!outbox) return this.send(datagram);
    this.counters.sent += 1;
    outbox.put(datagram.bytes);
    used.add(outbox);
  }

  async watch(endpoint: Endpoint): Promise<boolean> {
    if (!this.#isShared || this.#watched.has(keyOf(endpoint))) return this.#isShared;
    this.#io ??= new Datagrams();
    const { fd, socket } = bindShared(this.local, endpoint, this.#bufferBytes);
    const name = sockaddr(endpoint.address, endpoint.port);
    const outbox = this.#outboxOf(fd, socket, endpoint);
    const watched: Watched = { endpoint, socket, name, fd, io: this.#io, outbox };
    socket.on("message", (bytes, from) => this.#takeFrom(watched, bytes, from));
    socket.connect(endpoint.port, endpoint.address);
    const isConnected = await once(socket, "connect").then(
      () => !this.#isClosed,
      () => false, // No route at this moment: the first socket goes on trying.
    );
    if (!isConnected) {
      socket.close();
      return false;
    }
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#failed(endpoint, error.code === "ECONNREFUSED");
    });
    this.#watched.set(keyOf(endpoint), watched);
    return true;
  }

  onReadable(callback: () => void): void {
    this.#readable = callback;
  }

  onUnreachable(callback: (endpoint: Endpoint) => void): void {
    this.#unreachable = callback;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiting = [];
    this.#first.close();
    for (const { socket } of this.#watched.values()) socket.close();
  }

  readonly #take = (bytes: Buffer, { address, port }: RemoteInfo): void => {
    const plain = address.startsWith(MAPPED) ? address.slice(MAPPED.length) : address;
    this.#keep({ address: plain, port }, bytes);
  };

  /** One that dgram read. Where it is not alone more of them wait, as a rule: they are read at once. */
  #takeFrom({ endpoint, name, fd, io }: Watched, read: Buffer, from: RemoteInfo): void {
    if (this.#isClosed) return;
    const isAlone = this.#waiting.length === 0;
    this.#take(read, from);
    if (isAlone) return;
    const result = io.receive(fd, (bytes, sender) => {
      if (isSameEnd(sender, name)) this.#keep(endpoint, bytes);
      // Before it was connected the socket took others' too. They are sent again.
      else this.counters.receiveDropped += 1;
    });
    if (result < 0) this.#failed(endpoint, result === -ECONNREFUSED);
  }

  #keep(from: Endpoint, bytes: Uint8Array): void {
    this.counters.received += 1;
    if (this.#waiting.length >= this.#waitingMax) {
      this.counters.receiveDropped += 1;
      return;
    }
    this.#waiting.push({ from, bytes });
    if (this.#waiting.length === 1) this.#readable();
  }

  #sendTo({ endpoint, socket, fd, io }: Watched, bytes: Uint8Array): void {
    let result = io.send(fd, bytes);
    if (result === -ECONNREFUSED) {
      // What an earlier datagram met, told by this call in place of sending. The caller is amid its turn.
      setImmediate(() => this.#failed(endpoint, true));
      result = io.send(fd, bytes);
    }
    if (result >= 0) return;
    // dgram keeps it until there is room, or it can be sent without an interruption.
    if (result === -EAGAIN || result === -ENOBUFS || result === -EINTR) socket.send(bytes);
    else this.counters.sendErrors += 1;
  }

  #outboxOf(fd: number, socket: Socket, endpoint: Endpoint): Outbox {
    this.#messages ??= new MessageArray(OUTBOX_MESSAGES);
    return new Outbox(fd, this.#messages, {
      later: (bytes) => socket.send(bytes),
      // The caller is amid its turn.
      refused: () => setImmediate(() => this.#failed(endpoint, true)),
      failed: () => (this.counters.sendErrors += 1),
    });
  }

  #failed(endpoint: Endpoint, isRefused: boolean): void {
    if (this.#isClosed) return;
    if (!isRefused) {
      this.counters.sendErrors += 1;
      return;
    }
    this.counters.unreachable += 1;
    this.#unreachable(endpoint);
  }

  #addressFor({ address }: Endpoint): string {
    const isMapped = this.local.address.includes(":") && !address.includes(":");
    return isMapped ? MAPPED + address : address;
  }
}

/** The socket for everybody. Where system calls are missing it is a plain one that shares no port. */
async function bindFirst(
  listen: Endpoint,
  bufferBytes: number,
): Promise<{ socket: Socket; isShared: boolean }> {
  try {
    const fd = openSocket(listen.address, bufferBytes);
    orClose(fd, () => {
      libc().bind(fd, sockaddr(listen.address, listen.port));
      libc().setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    });
    return { socket: adopt(fd, listen.address), isShared: true };
  } catch (error) {
    if (!(error instanceof BatonError) || error.code !== "ERR_BATON_PLATFORM") {
      throw busy(listen, error);
    }
  }
  const socket = createSocket({ type: typeOf(listen.address) });
  try {
    socket.bind({ port: listen.port, address: listen.address, exclusive: true });
    await once(socket, "listening");
  } catch (error) {
    socket.close();
    throw busy(listen, error);
  }
  socket.setRecvBufferSize(bufferBytes);
  return { socket, isShared: false };
}

/** A socket on the port of the first one, to be connected to a peer. */
function bindShared(
  local: Endpoint,
  peer: Endpoint,
  bufferBytes: number,
): { fd: number; socket: Socket } {
  const fd = openSocket(peer.address, bufferBytes);
  const isSameFamily = local.address.includes(":") === peer.address.includes(":");
  const any = peer.address.includes(":") ? "::" : "0.0.0.0";
  orClose(fd, () => {
    libc().setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    libc().bind(fd, sockaddr(isSameFamily ? local.address : any, local.port));
  });
  return { fd, socket: adopt(fd, peer.address) };
}

/** dgram over a bound descriptor: it listens at once, and closes the descriptor in the end. */
function adopt(fd: number, address: string): Socket {
  const socket = createSocket({ type: typeOf(address) });
  socket.bind({ fd });
  return socket;
}

function openSocket(address: string, bufferBytes: number): number {
  const family = address.includes(":") ? AF_INET6 : AF_INET;
  const fd = libc().socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  orClose(fd, () => {
    setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, bufferBytes);
    setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, bufferBytes);
  });
  return fd;
}

/** The descriptor is closed by whoever was to have it, when this fails. */
function orClose(fd: number, action: () => void): void {
  try {
    action();
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

/** Beyond the system's limit where that is allowed (CAP_NET_ADMIN), up to it elsewhere. */
function setBuffer(fd: number, force: number, plain: number, bytes: number): void {
  try {
    libc().setsockopt(fd, SOL_SOCKET, force, bytes);
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    libc().setsockopt(fd, SOL_SOCKET, plain, bytes);
  }
}

function busy(listen: Endpoint, cause: unknown): BatonError {
  const { code = "ERR_BATON_LINK", message } = cause as NodeJS.ErrnoException;
  const where = `${listen.address} port ${listen.port}`;
  const wanted = `datagrams on ${where}: expected a free address of this machine`;
  return new BatonError(code, `${wanted}, got ${message}`, { cause });
}

function typeOf(address: string): "udp4" | "udp6" {
  return address.includes(":") ? "udp6" : "udp4";
}

function keyOf({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}
