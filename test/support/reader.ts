/** Reads a link as a node does: whenever called, one batch, and acts on each packet in its slot. */
import type { Link } from "../../host/link/link.ts";
import { SlotBatch } from "./slots.ts";

export class Reader<T extends Link = Link> {
  /** What arrived, copied, unless `act` is replaced. */
  readonly packets: Uint8Array[] = [];
  readonly batch: SlotBatch;
  readonly link: T;
  /** Packets that are not UDP over IPv4: the kernel's own, such as listener reports. */
  others = 0;
  /** Times that a call is ignored, and read later instead. */
  patience = 0;
  act: (index: number) => void = (index) => this.packets.push(this.batch.packet(index).slice());

  constructor(link: T, length = 16, slotBytes = 65536) {
    this.link = link;
    this.batch = new SlotBatch(length, slotBytes);
    link.onReadable(() => {
      if (this.patience === 0) return this.read();
      this.patience -= 1;
      setTimeout(() => this.read(), 5);
    });
  }

  read(): void {
    const count = this.link.receive(this.batch);
    for (let index = 0; index < count; index += 1) {
      const packet = this.batch.packet(index);
      if (packet[0]! >> 4 !== 4 || packet[9] !== 17) this.others += 1;
      this.act(index);
    }
  }
}
