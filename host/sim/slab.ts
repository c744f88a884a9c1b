/** Where all packets of all runs of a process have room. */
import { Slab } from "../core/slab.ts";

export const slab = new Slab(1 << 18);
