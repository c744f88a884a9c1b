/**
 * System calls, and nothing above them. The only file that names koffi, which is loaded at the first
 * call so that importing this module works everywhere. Knows C signatures and errno; must not know
 * what a descriptor is for. Errors are a BatonError with the errno's name as its code.
 */
import { createRequire } from "node:module";
import { arch, endianness, platform } from "node:os";
import { BatonError } from "../errors.ts";
import { EAGAIN, EINTR, errnoError } from "./errno.ts";

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const O_RDWR = 2;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const MSG_DONTWAIT = 0x40;
export const POLLIN = 1;

/** The packet path: addresses in, a count or -errno out. */
export interface FastCalls {
  /** Absolute address of a byte array's first byte; stable as long as the array's buffer lives. */
  address(bytes: Uint8Array): number;
  /** Bytes read to `address`. */
  read(fd: number, address: number, length: number): number;
  /** Bytes written from `address`. */
  write(fd: number, address: number, length: number): number;
  /** Messages sent of the `count` in the mmsghdr array at `address`. */
  sendmmsg(fd: number, address: number, count: number, flags: number): number;
  /** Messages received into the `count` of the mmsghdr array at `address`. */
  recvmmsg(fd: number, address: number, count: number, flags: number): number;
}

/** Everything else: byte arrays in, errors thrown. */
export interface CheckedCalls {
  open(path: string, flags: number): number;
  close(fd: number): void;
  /** Makes `to` a second name of what `from` names; closed on exec like every descriptor here. */
  dup3(from: number, to: number): void;
  socket(domain: number, type: number, protocol: number): number;
  socketpair(domain: number, type: number, protocol: number): [number, number];
  bind(fd: number, sockaddr: Uint8Array): void;
  /** Bytes sent. */
  sendto(fd: number, data: Uint8Array, flags: number, sockaddr: Uint8Array): number;
  /** The datagram's length, cut to the buffer's; undefined when none waits on a non-blocking socket. */
  recv(fd: number, data: Uint8Array, flags: number): number | undefined;
  getsockname(fd: number, sockaddr: Uint8Array): void;
  setsockopt(fd: number, level: number, option: number, value: number): void;
  getsockopt(fd: number, level: number, option: number): number;
  /** With a byte array: the kernel reads and writes it. `what` names the request in an error. */
  ioctl(fd: number, request: number, argument: Uint8Array | number, what: string): number;
  /** Tells the kernel how the pages from `address` on will be used. */
  madvise(address: number, length: number, advice: number): void;
  /**
   * Waits until one of `[fd, events]` is ready; the ready events of each, all 0 after the time-out or
   * a signal.
   */
  poll(fds: readonly (readonly [number, number])[], timeoutMs: number): number[];
}

/** Namespaces of the calling thread, orphans, shared rings: what the lab needs. */
export interface LabCalls {
  unshare(flags: number): void;
  setns(fd: number, type: number): void;
  /** The process that ended, 0 when none did; -errno. */
  waitpid(pid: number, options: number): number;
  setsockoptBytes(fd: number, level: number, option: number, value: Uint8Array): void;
  /** At most `length` bytes. */
  getsockoptBytes(fd: number, level: number, option: number, length: number): Uint8Array;
  /** Maps `length` bytes of `fd`, shared, for good: the bytes must not be used after an munmap. */
  mapShared(fd: number, length: number): Uint8Array;
  /**
   * Waits at most `timeoutUs` for the `count` struct pollfd at `address`; a signal ends the wait.
   * Returns how many are ready, 0 after the time-out, -errno.
   */
  ppoll(address: number, count: number, timeoutUs: number): number;
}

/** eBPF and rings in our own pages: what the xdp link needs. */
export interface XdpCalls {
  /** bpf(2): a descriptor or 0. `what` names the request in an error. */
  bpf(command: number, attributes: Uint8Array, what: string): number;
  /** Maps `fd` from `offset` over the pages at `address`, shared, in place of what is there. */
  mapAt(address: number, length: number, fd: number, offset: number): void;
  /** Puts zeroed memory of our own over the pages at `address`, which lets go of what was mapped there. */
  clearAt(address: number, length: number): void;
  /** sendto without data, which asks for what waits in a ring to be sent: 0 or -errno. */
  kick(fd: number): number;
  /** recvfrom without room, which asks for received packets in a ring: 0 or -errno. */
  kickReceive(fd: number): number;
}

export type Libc = FastCalls & CheckedCalls & LabCalls & XdpCalls;

let loaded: Libc | undefined;

/** The bindings; ERR_BATON_PLATFORM where they cannot exist. */
export function libc(): Libc {
  loaded ??= bind(loadKoffi());
  return loaded;
}

/**
 * A function of this process's own libraries by its C signature, for rooms whose calls are no system
 * calls (OpenSSL inside Node's binary). Throws where it cannot be had; results are what C returned.
 */
export function native(signature: string): (...args: number[]) => number {
  return loadKoffi().load(null).func(signature);
}

interface Koffi {
  load(path: null): { func(signature: string): (...args: unknown[]) => number };
  address(value: Uint8Array): bigint;
  view(address: bigint, length: number): ArrayBuffer;
  errno(): number;
}

/** The ioctl numbers and structure layouts in this room hold on these machines only. */
const ARCHITECTURES: readonly string[] = ["x64", "arm64", "riscv64", "loong64"];

function loadKoffi(): Koffi {
  if (platform() !== "linux" || endianness() !== "LE" || !ARCHITECTURES.includes(arch())) {
    const got = `${platform()} on ${arch()}`;
    throw new BatonError("ERR_BATON_PLATFORM", `system calls: expected 64-bit Linux, got ${got}`);
  }
  try {
    return createRequire(import.meta.url)("koffi") as Koffi;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    const message = `system calls: expected the package koffi, got ${reason}`;
    throw new BatonError("ERR_BATON_PLATFORM", message, { cause });
  }
}

type Declare = (signature: string) => (...args: unknown[]) => number;

function bind(koffi: Koffi): Libc {
  const library = koffi.load(null);
  const declare: Declare = (signature) => library.func(signature);
  return {
    ...fastCalls(koffi, declare),
    ...checkedCalls(koffi, declare),
    ...labCalls(koffi, declare),
    ...xdpCalls(koffi, declare),
  };
}

/** Each wrapper is its own closure of fixed arity, so that V8 inlines it. */
function fastCalls(koffi: Koffi, declare: Declare): FastCalls {
  // ssize_t results fit an int here: no call moves 2 GiB, and koffi returns int faster than int64.
  const read = declare("int read(int fd, uintptr_t data, size_t length)");
  const write = declare("int write(int fd, uintptr_t data, size_t length)");
  const sendmmsg = declare(
    "int sendmmsg(int fd, uintptr_t messages, unsigned int count, int flags)",
  );
  const recvmmsg = declare(
    "int recvmmsg(int fd, uintptr_t messages, unsigned int count, int flags, uintptr_t timeout)",
  );
  const result = (value: number): number => (value < 0 ? -koffi.errno() : value);
  return {
    address: (bytes) => Number(koffi.address(bytes)),
    read: (fd, address, length) => result(read(fd, address, length)),
    write: (fd, address, length) => result(write(fd, address, length)),
    sendmmsg: (fd, address, count, flags) => result(sendmmsg(fd, address, count, flags)),
    recvmmsg: (fd, address, count, flags) => result(recvmmsg(fd, address, count, flags, 0)),
  };
}

function checkedCalls(koffi: Koffi, declare: Declare): CheckedCalls {
  const open = declare("int open(const char *path, int flags)");
  const close = declare("int close(int fd)");
  const dup3 = declare("int dup3(int from, int to, int flags)");
  const poll = declare("int poll(void *fds, uint64_t count, int timeout)");
  const madvise = declare("int madvise(uintptr_t address, size_t length, int advice)");
  const ioctlPointer = declare("int ioctl(int fd, uint64_t request, void *argument)");
  const ioctlNumber = declare("int ioctl(int fd, uint64_t request, uint64_t argument)");
  const check = (what: string, result: number): number => {
    if (result < 0) throw errnoError(what, koffi.errno());
    return result;
  };
  return {
    ...socketCalls(koffi, declare, check),
    open: (path, flags) => check(`open ${path}`, open(path, flags | O_CLOEXEC)),
    close: (fd) => void check("close", close(fd)),
    dup3: (from, to) => void check("dup3", dup3(from, to, O_CLOEXEC)),
    ioctl: (fd, request, argument, what) =>
      typeof argument === "number"
        ? check(what, ioctlNumber(fd, request, argument))
        : check(what, ioctlPointer(fd, request, argument)),
    madvise: (address, length, advice) => void check("madvise", madvise(address, length, advice)),
    poll: (fds, timeoutMs) => {
      // struct pollfd: int fd; short events, revents.
      const shorts = new Int16Array(fds.length * 4);
      const ints = new Int32Array(shorts.buffer);
      fds.forEach(([fd, events], index) => {
        ints[index * 2] = fd;
        shorts[index * 4 + 2] = events;
      });
      const ready = poll(shorts, fds.length, timeoutMs);
      if (ready < 0 && koffi.errno() !== EINTR) check("poll", ready);
      return fds.map((_, index) => shorts[index * 4 + 3]!);
    },
  };
}

type SocketCalls = Omit<CheckedCalls, "open" | "close" | "dup3" | "ioctl" | "madvise" | "poll">;

function socketCalls(
  koffi: Koffi,
  declare: Declare,
  check: (what: string, result: number) => number,
): SocketCalls {
  const socket = declare("int socket(int domain, int type, int protocol)");
  const pair = declare("int socketpair(int domain, int type, int protocol, void *fds)");
  const bindTo = declare("int bind(int fd, void *address, unsigned int size)");
  const sendto = declare(
    "int sendto(int fd, void *data, size_t length, int flags, void *address, unsigned int size)",
  );
  const recv = declare("int recv(int fd, void *data, size_t length, int flags)");
  const getsockname = declare("int getsockname(int fd, void *address, void *size)");
  const setsockopt = declare(
    "int setsockopt(int fd, int level, int option, void *value, unsigned int size)",
  );
  const getsockopt = declare(
    "int getsockopt(int fd, int level, int option, void *value, void *size)",
  );
  return {
    socket: (domain, type, protocol) =>
      check("socket", socket(domain, type | SOCK_CLOEXEC, protocol)),
    socketpair: (domain, type, protocol) => {
      const fds = new Int32Array(2);
      check("socketpair", pair(domain, type | SOCK_CLOEXEC, protocol, fds));
      return [fds[0]!, fds[1]!];
    },
    bind: (fd, sockaddr) => void check("bind", bindTo(fd, sockaddr, sockaddr.length)),
    sendto: (fd, data, flags, sockaddr) =>
      check("sendto", sendto(fd, data, data.length, flags, sockaddr, sockaddr.length)),
    recv: (fd, data, flags) => {
      const length = recv(fd, data, data.length, flags);
      return length < 0 && koffi.errno() === EAGAIN ? undefined : check("recv", length);
    },
    getsockname: (fd, sockaddr) =>
      void check("getsockname", getsockname(fd, sockaddr, new Uint32Array([sockaddr.length]))),
    setsockopt: (fd, level, option, value) =>
      void check("setsockopt", setsockopt(fd, level, option, new Int32Array([value]), 4)),
    getsockopt: (fd, level, option) => {
      const value = new Int32Array(1);
      check("getsockopt", getsockopt(fd, level, option, value, new Uint32Array([4])));
      return value[0]!;
    },
  };
}

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_POPULATE = 0x8000;

/** The number of bpf(2): x86-64 has its own, the other architectures share theirs. */
const BPF_CALL = arch() === "x64" ? 321 : 280;

function xdpCalls(koffi: Koffi, declare: Declare): XdpCalls {
  const bpf = declare("int64_t syscall(int64_t number, int command, void *attr, uint32_t size)");
  const mmap = declare(
    "int64_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)",
  );
  const sendto = declare(
    "int sendto(int fd, uintptr_t data, size_t length, int flags, uintptr_t to, unsigned int size)",
  );
  const recvfrom = declare(
    "int recvfrom(int fd, uintptr_t data, size_t length, int flags, uintptr_t from, uintptr_t size)",
  );
  const result = (value: number): number => (value < 0 ? -koffi.errno() : 0);
  return {
    bpf: (command, attributes, what) => {
      const value = Number(bpf(BPF_CALL, command, attributes, attributes.length));
      if (value < 0) throw errnoError(what, koffi.errno());
      return value;
    },
    mapAt: (address, length, fd, offset) => {
      const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
      const got = Number(mmap(address, length, PROT_READ_WRITE, flags, fd, offset));
      if (got !== address) throw errnoError("mmap", koffi.errno());
    },
    clearAt: (address, length) => {
      const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
      const got = Number(mmap(address, length, PROT_READ_WRITE, flags, -1, 0));
      if (got !== address) throw errnoError("mmap", koffi.errno());
    },
    kick: (fd) => result(sendto(fd, 0, 0, MSG_DONTWAIT, 0, 0)),
    kickReceive: (fd) => result(recvfrom(fd, 0, 0, MSG_DONTWAIT, 0, 0)),
  };
}

function labCalls(koffi: Koffi, declare: Declare): LabCalls {
  const unshare = declare("int unshare(int flags)");
  const setns = declare("int setns(int fd, int type)");
  const waitpid = declare("int waitpid(int pid, void *status, int options)");
  const mmap = declare(
    "int64_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)",
  );
  const ppoll = declare("int ppoll(uintptr_t fds, uint64_t count, void *timeout, uintptr_t mask)");
  const check = (what: string, result: number): void => {
    if (result < 0) throw errnoError(what, koffi.errno());
  };
  const setsockopt = declare(
    "int setsockopt(int fd, int level, int option, void *value, unsigned int size)",
  );
  const getsockopt = declare(
    "int getsockopt(int fd, int level, int option, void *value, void *size)",
  );
  const timeout = new BigInt64Array(2);
  return {
    setsockoptBytes: (fd, level, option, value) =>
      check("setsockopt", setsockopt(fd, level, option, value, value.length)),
    getsockoptBytes: (fd, level, option, length) => {
      const value = new Uint8Array(length);
      const size = Uint32Array.of(length);
      check("getsockopt", getsockopt(fd, level, option, value, size));
      return value.subarray(0, size[0]);
    },
    unshare: (flags) => check("unshare", unshare(flags)),
    setns: (fd, type) => check("setns", setns(fd, type)),
    waitpid: (pid, options) => {
      const result = waitpid(pid, null, options);
      return result < 0 ? -koffi.errno() : result;
    },
    mapShared: (fd, length) => {
      const address = mmap(0, length, PROT_READ_WRITE, MAP_SHARED, fd, 0);
      check("mmap", address);
      return new Uint8Array(koffi.view(BigInt(address), length));
    },
    ppoll: (address, count, timeoutUs) => {
      timeout[0] = BigInt(Math.floor(timeoutUs / 1e6));
      timeout[1] = BigInt(Math.floor(timeoutUs % 1e6) * 1000);
      const ready = ppoll(address, count, timeout, 0);
      return ready < 0 ? -koffi.errno() : ready;
    },
  };
}
