/**
 * The Linux kernel as a Stack, over a TUN device in a namespace of its own. Many scripts run side by side: each has
 * a peer address and ports of its own, so that nothing the kernel remembers about one peer reaches another.
 * An answer to a packet is in the device's queue when the write of the packet returns; what timers send is read
 * when the loop wakes up, and `latest` says by how much the loop was late.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { BatonError } from "../../host/errors.ts";
import { sockaddr } from "../../host/linux/address.ts";
import { SOCK_NONBLOCK, SOCK_STREAM, libc, native } from "../../host/linux/libc.ts";
import { type TunLink, openTun } from "../../host/link/tun.ts";
import { writeSysctl } from "../../host/linux/sysctl.ts";
import { type TcpPacket, parseTcp } from "../support/packet.ts";
import { ip } from "../support/namespace.ts";
import { SlotBatch } from "../support/slots.ts";
import type { Sent, SocketOptions, Stack } from "./stack.ts";

const LOCAL = { 4: "10.78.0.1", 6: "fd78::1" } as const;
const FAMILY = { 4: 2, 6: 10 } as const;
const PEER_PORT = 40000;
const FIRST_PORT = 2000;
const BACKLOG = 8;

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_OOBINLINE = 10;
const SO_LINGER = 13;
const SOL_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_INFO = 11;
const TCP_CONGESTION = 13;
const TCP_USER_TIMEOUT = 18;
const MSG_OOB = 1;
const MSG_NOSIGNAL = 0x4000;
const SHUT_WR = 1;

/** tcpi_state. */
const STATES = [
  "?",
  "ESTABLISHED",
  "SYN-SENT",
  "SYN-RECEIVED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "CLOSED",
  "CLOSED",
  "CLOSE-WAIT",
  "LAST-ACK",
  "LISTEN",
  "CLOSING",
] as const;

const ERRORS: Readonly<Record<string, string>> = {
  ECONNRESET: "reset",
  EPIPE: "broken",
  ETIMEDOUT: "timeout",
  ECONNREFUSED: "refused",
  EHOSTUNREACH: "refused",
  ENOTCONN: "nothing",
};

/** What upstream has by default, whatever this machine's settings are. */
const SETTINGS: Readonly<Record<string, string>> = {
  tcp_rmem: "4096 131072 6291456",
  tcp_wmem: "4096 16384 4194304",
  tcp_no_metrics_save: "1",
  // ACKs of what is out of order are not gathered for some microseconds: that would be a matter of luck here.
  tcp_comp_sack_nr: "0",
};

/** The device, and which script a packet belongs to. */
export class Kernel {
  readonly #link: TunLink;
  readonly #rx = new SlotBatch();
  readonly #tx = new SlotBatch(1);
  readonly #stacks = new Map<number, LinuxStack>();
  #next = 0;

  private constructor(link: TunLink) {
    this.#link = link;
    link.onReadable(() => this.read());
  }

  static async open(): Promise<Kernel> {
    for (const [name, value] of Object.entries(SETTINGS)) writeSysctl(`ipv4/${name}`, value);
    const link = await openTun({ name: "kernel0", offload: false, mtu: 1500, forward: false });
    ip(
      `address add ${LOCAL[4]}/32 dev lo`,
      `address add ${LOCAL[6]}/128 dev lo nodad`,
      "route add 10.77.0.0/16 dev kernel0",
      "route add fd77::/64 dev kernel0",
    );
    return new Kernel(link);
  }

  stack(family: 4 | 6, options: SocketOptions): LinuxStack {
    const number = ++this.#next;
    const stack = new LinuxStack(this, family, options, number);
    this.#stacks.set(stack.localPort, stack);
    return stack;
  }

  write(packet: Uint8Array): void {
    this.#tx.put(0, packet);
    if (!this.#link.transmit(this.#tx, 0)) throw new Error("the device refused a packet");
    this.#link.flush();
    this.read();
  }

  read(): void {
    for (;;) {
      const count = this.#link.receive(this.#rx);
      if (count === 0) return;
      for (let index = 0; index < count; index++) this.#dispatch(this.#rx.packet(index).slice());
    }
  }

  #dispatch(bytes: Uint8Array): void {
    const isTcp = bytes[0]! >> 4 === 4 ? bytes[9] === 6 : bytes[6] === 6;
    if (!isTcp) return; // the kernel's own: listener reports, neighbour discovery
    const packet = parseTcp(bytes);
    if (!packet.tcpChecksumOk && !packet.partialChecksumOk) throw new Error("bad checksum");
    this.#stacks.get(packet.sourcePort)?.keep(packet);
  }

  forget(stack: LinuxStack): void {
    this.#stacks.delete(stack.localPort);
  }

  close(): void {
    this.#link.close();
  }
}

export class LinuxStack implements Stack {
  readonly family: 4 | 6;
  readonly peer: string;
  readonly local: string;
  readonly peerPort = PEER_PORT;
  readonly localPort: number;
  /** Ms by which the loop was late while the script ran, at most. */
  latest = 0;
  readonly #delays = monitorEventLoopDelay({ resolution: 4 });
  /** When something was last asked of this stack. */
  #asked = performance.now();
  readonly #kernel: Kernel;
  readonly #options: SocketOptions;
  readonly #kept: Sent[] = [];
  readonly #calls = libc();
  readonly #listen = native("int listen(int fd, int backlog)");
  readonly #accept = native("int accept4(int fd, uintptr_t address, uintptr_t length, int flags)");
  readonly #connect = native("int connect(int fd, uintptr_t address, unsigned int length)");
  readonly #shutdown = native("int shutdown(int fd, int how)");
  #listener = -1;
  #fd = -1;

  constructor(kernel: Kernel, family: 4 | 6, options: SocketOptions, number: number) {
    this.#kernel = kernel;
    this.family = family;
    this.#options = options;
    const [high, low] = [number >> 8, number & 255];
    this.peer = family === 4 ? `10.77.${high}.${low}` : `fd77::${number.toString(16)}`;
    this.local = LOCAL[family];
    this.localPort = FIRST_PORT + number;
    this.#delays.enable();
  }

  now(): number {
    return performance.now();
  }

  async pass(ms: number): Promise<void> {
    this.#hurry();
    const until = this.now() + ms;
    // The loop's own timers have whole milliseconds and may be early.
    while (this.now() < until) await wait(Math.max(1, until - this.now()));
    this.#kernel.read();
    this.latest = Math.max(this.latest, this.now() - until, this.#delays.max / 1e6 - 4);
    this.#asked = this.now();
  }

  /** Between two calls no time should pass: a script waits by `pass` alone. */
  #hurry(): void {
    const now = this.now();
    this.latest = Math.max(this.latest, now - this.#asked);
    this.#asked = now;
  }

  inject(packet: Uint8Array): void {
    this.#hurry();
    this.#kernel.write(packet);
  }

  keep(packet: TcpPacket): void {
    this.#kept.push({ at: this.now(), packet });
  }

  take(): Sent[] {
    this.#hurry();
    this.#kernel.read();
    return this.#kept.splice(0);
  }

  listen(): void {
    this.#listener = this.#socket();
    if (this.#listen(this.#listener, BACKLOG) !== 0) throw new Error("listen failed");
  }

  connect(): void {
    this.#fd = this.#socket();
    const address = sockaddr(this.peer, this.peerPort);
    // In progress is what it returns: the outcome is asked for later.
    this.#connect(this.#fd, this.#calls.address(address), address.length);
  }

  #socket(): number {
    const calls = this.#calls;
    const fd = calls.socket(FAMILY[this.family], SOCK_STREAM | SOCK_NONBLOCK, 0);
    const { noDelay, keepAlive, userTimeoutMs, receiveBuffer } = this.#options;
    calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    calls.setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    calls.setsockoptBytes(fd, SOL_TCP, TCP_CONGESTION, Buffer.from("cubic\0"));
    if (noDelay) calls.setsockopt(fd, SOL_TCP, TCP_NODELAY, 1);
    if (receiveBuffer !== undefined) calls.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, receiveBuffer);
    if (userTimeoutMs !== undefined) {
      calls.setsockopt(fd, SOL_TCP, TCP_USER_TIMEOUT, userTimeoutMs);
    }
    if (keepAlive) {
      calls.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
      calls.setsockopt(fd, SOL_TCP, TCP_KEEPIDLE, keepAlive.idle);
      calls.setsockopt(fd, SOL_TCP, TCP_KEEPINTVL, keepAlive.interval);
      calls.setsockopt(fd, SOL_TCP, TCP_KEEPCNT, keepAlive.probes);
    }
    calls.bind(fd, sockaddr(this.local, this.localPort));
    return fd;
  }

  accept(): boolean {
    const fd = this.#accept(this.#listener, 0, 0, SOCK_NONBLOCK);
    if (fd < 0) return false;
    if (0 <= this.#fd) this.#calls.close(this.#fd);
    this.#fd = fd;
    return true;
  }

  state(): string {
    if (this.#fd < 0) return "CLOSED";
    return STATES[this.#calls.getsockoptBytes(this.#fd, SOL_TCP, TCP_INFO, 8)[0]!] ?? "?";
  }

  write(count: number, urgent: boolean): number | string {
    const data = new Uint8Array(count).fill(0x62);
    const flags = MSG_NOSIGNAL | (urgent ? MSG_OOB : 0);
    return attempt(() => this.#calls.sendto(this.#fd, data, flags, new Uint8Array(0)));
  }

  read(limit: number): string {
    const data = new Uint8Array(limit);
    const got = attempt(() => this.#calls.recv(this.#fd, data, 0));
    if (typeof got === "number") return got === 0 ? "end" : `${got} bytes`;
    if (got === undefined) {
      const error = this.#calls.getsockopt(this.#fd, SOL_SOCKET, SO_ERROR);
      return error === 0 ? "nothing" : `error ${error}`;
    }
    return got;
  }

  shutdown(): void {
    this.#shutdown(this.#fd, SHUT_WR);
  }

  close(): void {
    this.#calls.close(this.#fd);
    this.#fd = -1;
  }

  abort(): void {
    // struct linger: on, no seconds.
    this.#calls.setsockoptBytes(
      this.#fd,
      SOL_SOCKET,
      SO_LINGER,
      Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
    );
    this.close();
  }

  end(): void {
    this.#hurry();
    if (0 <= this.#fd) this.abort();
    if (0 <= this.#listener) this.#calls.close(this.#listener);
    this.#listener = -1;
    this.#kernel.read();
    this.#kernel.forget(this);
    this.#delays.disable();
  }
}

/** The result, or the word for the error. */
function attempt<T>(call: () => T): T | string {
  try {
    return call();
  } catch (error) {
    const code = error instanceof BatonError ? error.code : "";
    const word = ERRORS[code];
    if (word === undefined) throw error;
    return word;
  }
}
