/**
 * What a simulated run sends, as a capture file. Knows the file format and where datagrams come from; what
 * packets say is not looked at.
 */
import { interfaceBlock, packetBlock, sectionBlock } from "../observe/pcapng.ts";
import { buildIp } from "../sim/packet.ts";

const SNAP_LEN = 65_535;
const FLUSH_BYTES = 1 << 20;
const PROTOCOL_UDP = 17;
const UDP_PORT = 4433;
const UDP_PLACE = "udp:";

/** Packets as their senders emit them, each sender an interface; the fate of each is its comment. */
export class SimTrace {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #interfaces = new Map<string, number>();
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write;
    this.#append(sectionBlock());
  }

  readonly watch = (
    from: string,
    to: string,
    bytes: Uint8Array,
    us: number,
    fate: string,
  ): void => {
    const isDatagram = to.startsWith(UDP_PLACE);
    const packet = isDatagram ? this.#datagram(from, to, bytes) : bytes;
    const seconds = Math.floor(us / 1_000_000);
    this.#append(
      packetBlock({
        seconds,
        nanoseconds: Math.round(us - seconds * 1_000_000) * 1000,
        interface: this.#interface(from),
        direction: "out",
        length: packet.length,
        bytes: packet,
        comment: `${from} > ${to}${fate === "" ? "" : `: ${fate}`}`,
      }),
    );
  };

  flush(): void {
    for (const bytes of this.#pending) this.#write(bytes);
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  #interface(name: string): number {
    let index = this.#interfaces.get(name);
    if (index === undefined) {
      index = this.#interfaces.size;
      this.#interfaces.set(name, index);
      this.#append(interfaceBlock(name, SNAP_LEN));
    }
    return index;
  }

  /** The simulator has no addresses for sockets: each place gets one of 10.8.0.0/16, in order of its name. */
  #datagram(from: string, to: string, bytes: Uint8Array): Uint8Array {
    const message = new Uint8Array(8 + bytes.length);
    const view = new DataView(message.buffer);
    view.setUint16(0, UDP_PORT);
    view.setUint16(2, UDP_PORT);
    view.setUint16(4, message.length);
    message.set(bytes, 8);
    const [source, destination] = [addressOf(from), addressOf(to)];
    return buildIp({ source, destination, protocol: PROTOCOL_UDP }, message);
  }

  #append(block: Uint8Array): void {
    this.#pending.push(block);
    this.#pendingBytes += block.length;
    if (this.#pendingBytes >= FLUSH_BYTES) this.flush();
  }
}

/** "udp:lb" is 10.8.0.1, "udp:b7" is 10.8.1.7, a classifier's "udp:c2" 10.8.2.2. */
function addressOf(place: string): string {
  const name = place.slice(UDP_PLACE.length);
  const number = Number(name.replace(/^\D+/, "")) || 1;
  const kind = name.startsWith("b") ? 1 : name.startsWith("c") ? 2 : 0;
  return `10.8.${kind}.${number}`;
}
