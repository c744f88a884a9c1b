import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonError } from "../../host/errors.ts";
import { errnoError, isUnavailable } from "../../host/linux/errno.ts";
import * as linux from "../../host/linux/libc.ts";

const { libc } = linux;
const calls = suite("libc");

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.instance(error, BatonError);
    return (error as BatonError).code;
  }
  throw new Error("expected an error");
}

calls("turns errno into an error with its name and what was tried", () => {
  const error = errnoError("open /dev/net/tun", 13);
  assert.is(error.code, "EACCES");
  assert.match(error.message, /^open \/dev\/net\/tun: .*EACCES/);
  assert.ok(isUnavailable(error));
  assert.not.ok(isUnavailable(errnoError("read", 22)));
  assert.not.ok(isUnavailable(new Error("EPERM")));
  assert.is(errnoError("x", 77).code, "EBADFD");
  assert.is(errnoError("x", 9999).code, "E9999");
});

calls("moves bytes by address between the two ends of a socket pair", () => {
  const c = libc();
  const [a, b] = c.socketpair(linux.AF_UNIX, linux.SOCK_DGRAM | linux.SOCK_NONBLOCK, 0);
  const bytes = new Uint8Array(new ArrayBuffer(4096));
  bytes.fill(7, 100, 200);
  const base = c.address(bytes);
  assert.is(c.address(bytes.subarray(100)), base + 100, "addresses are linear");
  assert.is(c.write(a, base + 100, 100), 100);
  assert.is(c.read(b, base + 1000, 500), 100);
  assert.equal(bytes.subarray(1000, 1101), new Uint8Array(101).fill(7, 0, 100));
  assert.is(c.read(b, base, 10), -11, "EAGAIN comes back negative");
  assert.is(c.recv(b, bytes, 0), undefined);
  c.close(a);
  c.close(b);
  assert.is(c.read(b, base, 10), -9, "EBADF");
  assert.is(
    codeOf(() => c.close(b)),
    "EBADF",
  );
});

calls("sends and receives several messages with one call", () => {
  const c = libc();
  const [a, b] = c.socketpair(linux.AF_UNIX, linux.SOCK_DGRAM | linux.SOCK_NONBLOCK, 0);
  // Two struct mmsghdr (64 bytes), two struct iovec (16 bytes), then the data.
  const bytes = new Uint8Array(new ArrayBuffer(256));
  const view = new DataView(bytes.buffer);
  const base = c.address(bytes);
  for (const index of [0, 1]) {
    view.setBigUint64(index * 64 + 16, BigInt(base + 128 + index * 16), true);
    view.setBigUint64(index * 64 + 24, 1n, true);
    view.setBigUint64(128 + index * 16, BigInt(base + 160 + index * 8), true);
    view.setBigUint64(128 + index * 16 + 8, BigInt(3 + index), true);
  }
  assert.is(c.sendmmsg(a, base, 2, 0), 2);
  assert.is(c.recvmmsg(b, base, 2, linux.MSG_DONTWAIT), 2);
  assert.is(view.getUint32(56, true), 3);
  assert.is(view.getUint32(64 + 56, true), 4);
  assert.is(c.recvmmsg(b, base, 2, linux.MSG_DONTWAIT), -11);
  c.close(a);
  c.close(b);
});

calls("polls, and names a descriptor twice", () => {
  const c = libc();
  const [a, b] = c.socketpair(linux.AF_UNIX, linux.SOCK_DGRAM, 0);
  const [d, e] = c.socketpair(linux.AF_UNIX, linux.SOCK_STREAM, 0);
  assert.equal(
    c.poll(
      [
        [b, linux.POLLIN],
        [d, linux.POLLIN],
      ],
      0,
    ),
    [0, 0],
  );
  const byte = new Uint8Array(new ArrayBuffer(8));
  assert.is(c.write(a, c.address(byte), 1), 1);
  c.dup3(b, d);
  assert.equal(
    c.poll(
      [
        [e, 0],
        [d, linux.POLLIN],
      ],
      1000,
    ),
    [0x10, linux.POLLIN],
    "the old other end sees a hang-up",
  );
  for (const fd of [a, b, d, e]) c.close(fd);
});

calls("binds sockets, reads their names, and sets options", () => {
  const c = libc();
  const address = Uint8Array.of(linux.AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  const fd = c.socket(linux.AF_INET, linux.SOCK_DGRAM, 0);
  c.bind(fd, address);
  const name = new Uint8Array(16);
  c.getsockname(fd, name);
  assert.ok(name[2]! * 256 + name[3]! >= 1024);
  assert.is(c.sendto(fd, Uint8Array.of(1, 2, 3), 0, name), 3);
  const data = new Uint8Array(8);
  assert.is(c.recv(fd, data, 0), 3);
  assert.equal([...data.subarray(0, 4)], [1, 2, 3, 0]);
  c.setsockopt(fd, linux.SOL_SOCKET, linux.SO_RCVBUF, 40_000);
  assert.is(c.getsockopt(fd, linux.SOL_SOCKET, linux.SO_RCVBUF), 80_000);
  const ready = new Int32Array(1);
  assert.is(c.ioctl(fd, 0x541b, new Uint8Array(ready.buffer), "FIONREAD"), 0);
  c.close(fd);
});

calls("fails with the errno's name", () => {
  const c = libc();
  assert.is(
    codeOf(() => c.open("/nonexistent/baton", linux.O_RDWR)),
    "ENOENT",
  );
  assert.is(
    codeOf(() => c.socket(99, linux.SOCK_DGRAM, 0)),
    "EAFNOSUPPORT",
  );
  assert.is(codeOf(() => c.ioctl(0, 0xdead, 0, "ioctl nonsense")).startsWith("E"), true);
});

calls.run();
