/**
 * Writes down what is done with an instance of the core, in the language of examples/runtimes/README.md, while it
 * does it: calls and what they answered, bytes written and read, pointers by name. Knows the raw exports of a
 * module; must not know what a call means.
 */
import type { CoreModule } from "../../host/core/module.ts";

/** A place in memory: a name that `get` or `load` gave, and bytes from there. */
export interface Place {
  readonly name: string;
  readonly off: number;
}

export type Argument = { readonly i: number } | { readonly f: number } | Place;

export class Recorder {
  readonly #module: CoreModule;
  readonly #lines: string[] = [];
  readonly #values = new Map<string, number>();

  constructor(module: CoreModule) {
    this.#module = module;
  }

  text(): string {
    return this.#lines.join("\n") + "\n";
  }

  /** A remark for whoever reads the file. */
  note(text: string): void {
    this.#lines.push("", `# ${text}`);
  }

  /** Names the result of an exported function that takes nothing. */
  get(name: string, exported: string): Place {
    this.#values.set(name, this.#run(exported, []) >>> 0);
    this.#lines.push(`get ${name} ${exported}`);
    return { name, off: 0 };
  }

  /** Names the u32 that stands at a place. */
  load(name: string, from: Place): Place {
    this.#values.set(name, this.#view().getUint32(this.address(from), true));
    this.#lines.push(`load ${name} ${place(from)}`);
    return { name, off: 0 };
  }

  write(to: Place, bytes: Uint8Array): void {
    this.#bytes().set(bytes, this.address(to));
    this.#lines.push(`write ${place(to)} ${hex(bytes)}`);
  }

  writeU32(to: Place, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.write(to, bytes);
  }

  call(exported: string, ...args: Argument[]): number {
    const result = this.#run(
      exported,
      args.map((argument) => this.#value(argument)),
    );
    this.#lines.push(`call ${[exported, ...args.map(word)].join(" ")} = ${result}`);
    return result;
  }

  read(from: Place, len: number): Uint8Array {
    const at = this.address(from);
    const bytes = this.#bytes().slice(at, at + len);
    this.#lines.push(`read ${place(from)} ${hex(bytes)}`);
    return bytes;
  }

  /** Bytes that go to a file, for another instance, in whatever runtime that is. */
  keep(file: string, from: Place, len: number): Uint8Array {
    const at = this.address(from);
    this.#lines.push(`keep ${file} ${place(from)} ${len}`);
    return this.#bytes().slice(at, at + len);
  }

  give(file: string, to: Place, bytes: Uint8Array): void {
    this.#bytes().set(bytes, this.address(to));
    this.#lines.push(`give ${file} ${place(to)}`);
  }

  address(at: Place): number {
    const base = this.#values.get(at.name);
    if (base === undefined) throw new Error(`nothing is named ${at.name}`);
    return base + at.off;
  }

  #value(argument: Argument): number {
    if ("i" in argument) return argument.i;
    return "f" in argument ? argument.f : this.address(argument);
  }

  #run(exported: string, args: readonly number[]): number {
    const found = this.#module.functions[exported];
    if (!found) throw new Error(`the module exports no ${exported}`);
    return found(...args);
  }

  #bytes(): Uint8Array {
    return new Uint8Array(this.#module.memory.buffer);
  }

  #view(): DataView {
    return new DataView(this.#module.memory.buffer);
  }
}

function place({ name, off }: Place): string {
  return off === 0 ? name : `${name}+${off}`;
}

function word(argument: Argument): string {
  if ("i" in argument) return `i:${argument.i}`;
  return "f" in argument ? `f:${argument.f}` : `p:${place(argument)}`;
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
