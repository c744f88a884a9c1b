/**
 * The interface of the package tuntap2 over our own device, so that code written for it works: `new Tun()`
 * and `new Tap()` are Duplex streams, one packet (or Ethernet frame) a chunk. Knows streams and
 * devices; the daemons use tun.ts, which copies nothing.
 */
import { Duplex } from "node:stream";
import { BatonError } from "../errors.ts";
import * as device from "../linux/device.ts";
import { EAGAIN, EINTR, errnoError } from "../linux/errno.ts";
import { libc, type Libc } from "../linux/libc.ts";
import { watchByLoop, type Watcher } from "../linux/watcher.ts";

/** IP's largest packet, an Ethernet header with a VLAN tag, and one byte more than can come. */
const FRAME_ROOM = 65535 + 18 + 1;
/** Packets that wait in the stream; beyond that, they wait in the kernel's queue. */
const READ_AHEAD = 64;

export interface TuntapOptions {
  /** A name, or a pattern that the kernel completes; default "tun%d" or "tap%d". */
  readonly name?: string;
}

abstract class Tuntap extends Duplex {
  /** The device's name, "tun0". */
  readonly name: string;
  readonly isTun: boolean;
  readonly isTap: boolean;
  readonly #fd: number;
  readonly #watcher: Watcher;
  readonly #libc: Libc = libc();
  readonly #input = new Uint8Array(new ArrayBuffer(FRAME_ROOM));
  readonly #inputAddress = this.#libc.address(this.#input);
  readonly #output = new Uint8Array(new ArrayBuffer(FRAME_ROOM));
  readonly #outputAddress = this.#libc.address(this.#output);
  /** The stream takes more. */
  #wanted = false;
  #reading = false;

  protected constructor(kind: "tun" | "tap", options: TuntapOptions) {
    // Objects on the readable side: chunks must never be joined or split.
    super({ readableObjectMode: true, readableHighWaterMark: READ_AHEAD });
    const name = options.name ?? `${kind}%d`;
    const opened = device.openTunDevice({ name, kind, vnetHeader: false, offload: false });
    this.#fd = opened.fd;
    this.name = opened.name;
    this.isTun = kind === "tun";
    this.isTap = kind === "tap";
    try {
      this.#watcher = watchByLoop(this.#fd, FRAME_ROOM, {
        readable: () => this.#fill(),
        failed: (error) => this.#gone(error),
      });
    } catch (error) {
      this.#libc.close(this.#fd);
      throw error;
    }
  }

  get isUp(): boolean {
    return device.isUp(this.name);
  }
  set isUp(up: boolean) {
    device.setUp(this.name, up);
  }

  get mtu(): number {
    return device.deviceMtu(this.name);
  }
  set mtu(mtu: number) {
    device.setDeviceMtu(this.name, mtu);
  }

  /** "02:00:5e:10:00:01"; a Tun has none: all zero, and cannot be set. */
  get mac(): string {
    return device.deviceMac(this.name);
  }
  set mac(mac: string) {
    if (this.isTun) {
      const message = `mac of ${this.name}: expected a Tap, got a Tun, which has no hardware address`;
      throw new BatonError("ERR_BATON_CONFIG", message);
    }
    device.setDeviceMac(this.name, mac);
  }

  /** "10.0.0.1/24", or "" when there is none. */
  get ipv4(): string {
    return device.deviceIpv4(this.name);
  }
  set ipv4(address: string) {
    device.setDeviceIpv4(this.name, address);
  }

  /** "fd00::1/64", or "" when there is none; a link-local one only when there is no other. */
  get ipv6(): string {
    const all = device.deviceIpv6(this.name);
    return all.find(isGlobal) ?? all[0] ?? "";
  }
  /** Replaces every address that is not link-local. */
  set ipv6(address: string) {
    const before = device.deviceIpv6(this.name).filter(isGlobal);
    for (const old of before) device.changeDeviceIpv6(this.name, old, "remove");
    device.changeDeviceIpv6(this.name, address, "add");
  }

  /** Closes the stream; the device is gone when `callback` is called. */
  release(callback?: () => void): void {
    if (callback) {
      if (this.closed) queueMicrotask(callback);
      else this.once("close", callback);
    }
    this.destroy();
  }

  override _read(): void {
    this.#wanted = true;
    this.#fill();
  }

  override _write(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    if (chunk.length > this.#output.length) {
      const most = this.#output.length;
      const message = `${this.name}: expected a packet of at most ${most} bytes, got ${chunk.length}`;
      return done(new BatonError("EMSGSIZE", message));
    }
    this.#output.set(chunk);
    const result = this.#libc.write(this.#fd, this.#outputAddress, chunk.length);
    done(result < 0 ? errnoError(`write to ${this.name}`, -result) : null);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    try {
      this.#watcher.close();
      this.#libc.close(this.#fd);
      done(error);
    } catch (second) {
      done(error ?? (second as Error));
    }
  }

  /** Pushes packets as long as the stream wants them; the device holds the others. */
  #fill(): boolean {
    if (this.#reading) return true; // push() asked for more from within
    this.#reading = true;
    // Bounded, so that a flood does not keep the loop here; what is left wakes it again.
    for (let count = 0; count < READ_AHEAD && this.#wanted && !this.destroyed; count += 1) {
      const packet = this.#next();
      if (!packet) break;
      this.#wanted = this.push(packet);
    }
    this.#reading = false;
    return true;
  }

  #next(): Buffer | undefined {
    const { pending } = this.#watcher;
    if (pending.length > 0) {
      const packet = Buffer.from(pending);
      this.#watcher.taken();
      return packet;
    }
    const length = this.#libc.read(this.#fd, this.#inputAddress, FRAME_ROOM);
    if (length > 0) return Buffer.from(this.#input.subarray(0, length));
    if (length === -EAGAIN) this.#watcher.drained();
    else if (length !== -EINTR) this.#gone(errnoError(`read of ${this.name}`, -length));
    return undefined;
  }

  #gone(cause: Error): void {
    const message = `${this.name}: expected the device to stay, got ${cause.message}`;
    this.destroy(new BatonError("ERR_BATON_DEVICE_GONE", message, { cause }));
  }
}

/** IP packets. */
export class Tun extends Tuntap {
  constructor(options: TuntapOptions = {}) {
    super("tun", options);
  }
}

/** Ethernet frames. */
export class Tap extends Tuntap {
  constructor(options: TuntapOptions = {}) {
    super("tap", options);
  }
}

function isGlobal(address: string): boolean {
  return !/^fe[89ab]/.test(address);
}
