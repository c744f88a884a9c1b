/**
 * AES-256-GCM through the OpenSSL that Node carries: several times faster than node:crypto, which makes
 * objects for each datagram. Knows EVP's calls (openssl.org, EVP_EncryptInit(3)) and keeps every byte
 * that C sees in one scratch array; must not know what is sealed.
 */
import { libc, native } from "../linux/libc.ts";
import type { Aead } from "../node/environment.ts";

const TAG_BYTES = 16;
const KEY_BYTES = 32;
const GET_TAG = 0x10;
const SET_TAG = 0x11;

/** Layout of the scratch array: the length that EVP writes, nonce, tag, key, then the datagram. */
const NONCE = 16;
const KEY = 64;
const DATA = 128;
/** Larger than any datagram; also large enough to lie outside V8's heap, where nothing moves. */
const DATA_BYTES_MAX = 65_536;

type Call = (...args: number[]) => number;

export class Evp {
  private readonly scratch = new Uint8Array(DATA + DATA_BYTES_MAX);
  private readonly base: number;
  private readonly contextNew = native("uintptr_t EVP_CIPHER_CTX_new()");
  private readonly contextFree = native("void EVP_CIPHER_CTX_free(uintptr_t context)");
  private readonly control = native(
    "int EVP_CIPHER_CTX_ctrl(uintptr_t context, int type, int number, uintptr_t data)",
  );
  private readonly cipher = Number(native("uintptr_t EVP_aes_256_gcm()")());
  private readonly encrypt = calls("Encrypt");
  private readonly decrypt = calls("Decrypt");

  /** Throws where OpenSSL's symbols or system calls cannot be had. */
  constructor() {
    this.base = libc().address(this.scratch);
  }

  aead(key: Uint8Array): Aead {
    return new EvpAead(this, key);
  }

  open(key: Uint8Array, isSealing: boolean): number {
    if (key.length !== KEY_BYTES) throw new Error(`key: expected 32 bytes, got ${key.length}`);
    const context = Number(this.contextNew());
    if (context === 0) throw new Error("EVP_CIPHER_CTX_new: out of memory");
    this.scratch.set(key, KEY);
    const { init } = isSealing ? this.encrypt : this.decrypt;
    const result = init(context, this.cipher, 0, this.base + KEY, 0);
    this.scratch.fill(0, KEY, KEY + KEY_BYTES);
    must(result, "init");
    return context;
  }

  free(context: number): void {
    this.contextFree(context);
  }

  seal(context: number, nonce: Uint8Array, data: Uint8Array, start: number, end: number): void {
    const { scratch, base, encrypt } = this;
    const { length } = data;
    if (length > DATA_BYTES_MAX) throw new Error(`datagram: expected less, got ${length} bytes`);
    scratch.set(nonce, NONCE);
    scratch.set(data, DATA);
    const at = base + DATA + start;
    must(encrypt.init(context, 0, 0, 0, base + NONCE), "init");
    if (start > 0) must(encrypt.update(context, 0, base, base + DATA, start), "update");
    if (end > start) must(encrypt.update(context, at, base, at, end - start), "update");
    must(encrypt.final(context, at, base), "final");
    must(this.control(context, GET_TAG, TAG_BYTES, base + DATA + end), "tag");
    data.set(scratch.subarray(DATA + start, DATA + end + TAG_BYTES), start);
  }

  unseal(
    context: number,
    nonce: Uint8Array,
    data: Uint8Array,
    start: number,
    to: Uint8Array,
  ): number {
    const { scratch, base, decrypt } = this;
    const end = data.length - TAG_BYTES;
    if (end < start || data.length > DATA_BYTES_MAX) return -1;
    scratch.set(nonce, NONCE);
    scratch.set(data, DATA);
    const at = base + DATA + start;
    must(decrypt.init(context, 0, 0, 0, base + NONCE), "init");
    if (start > 0) must(decrypt.update(context, 0, base, base + DATA, start), "update");
    if (end > start) must(decrypt.update(context, at, base, at, end - start), "update");
    must(this.control(context, SET_TAG, TAG_BYTES, base + DATA + end), "tag");
    if (decrypt.final(context, at, base) !== 1) return -1;
    to.set(scratch.subarray(DATA + start, DATA + end));
    return end - start;
  }
}

class EvpAead implements Aead {
  private readonly evp: Evp;
  private key: Uint8Array | undefined;
  /** Made when first needed: most keys only seal, or only open. */
  private sealing = 0;
  private opening = 0;

  constructor(evp: Evp, key: Uint8Array) {
    this.evp = evp;
    this.key = key.slice();
  }

  seal(nonce: Uint8Array, data: Uint8Array, start: number, end: number): void {
    if (this.sealing === 0) this.sealing = this.evp.open(this.live(), true);
    this.evp.seal(this.sealing, nonce, data, start, end);
  }

  open(nonce: Uint8Array, data: Uint8Array, start: number, plain: Uint8Array): number {
    if (this.opening === 0) this.opening = this.evp.open(this.live(), false);
    return this.evp.unseal(this.opening, nonce, data, start, plain);
  }

  close(): void {
    if (this.sealing !== 0) this.evp.free(this.sealing);
    if (this.opening !== 0) this.evp.free(this.opening);
    this.sealing = 0;
    this.opening = 0;
    this.key?.fill(0);
    this.key = undefined;
  }

  private live(): Uint8Array {
    if (!this.key) throw new Error("aead: used after close");
    return this.key;
  }
}

function calls(direction: "Encrypt" | "Decrypt"): { init: Call; update: Call; final: Call } {
  const context = "uintptr_t context";
  return {
    init: native(
      `int EVP_${direction}Init_ex(${context}, uintptr_t cipher, uintptr_t engine, ` +
        "uintptr_t key, uintptr_t nonce)",
    ),
    update: native(
      `int EVP_${direction}Update(${context}, uintptr_t to, uintptr_t length, ` +
        "uintptr_t from, int count)",
    ),
    final: native(`int EVP_${direction}Final_ex(${context}, uintptr_t to, uintptr_t length)`),
  };
}

/** OpenSSL refuses here only for lack of memory or by our own mistake. */
function must(result: number, what: string): void {
  if (result !== 1) throw new Error(`EVP ${what}: expected 1, got ${result}`);
}
