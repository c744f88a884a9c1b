/**
 * The cipher suite over node:crypto. Knows Node's calls; must not know what is sealed. RFC 5869 (HKDF),
 * RFC 2104 (HMAC), NIST SP 800-38D (GCM).
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from "node:crypto";
import type { Aead, Cipher } from "../node/environment.ts";
import { Evp } from "./evp.ts";

const TAG_BYTES = 16;

/** Ciphers over Node's own API: works everywhere, and is the reference for faster ones. */
export function createNodeCipher(): Cipher {
  return {
    hkdf: (key, salt, info, length) => new Uint8Array(hkdfSync("sha256", key, salt, info, length)),
    hmac: (key, data) => createHmac("sha256", key).update(data).digest(),
    sha256: (data) => createHash("sha256").update(data).digest(),
    aead: (key) => new NodeAead(key),
  };
}

/** The fastest cipher of this process: OpenSSL directly, or else Node's own API. */
export function createCipher(): Cipher {
  return createFastCipher() ?? createNodeCipher();
}

/**
 * The same with datagrams sealed by OpenSSL directly. Undefined where that cannot be had, or where it
 * does not seal as Node does.
 */
export function createFastCipher(): Cipher | undefined {
  const cipher = createNodeCipher();
  try {
    const evp = new Evp();
    const fast: Cipher = { ...cipher, aead: (key) => evp.aead(key) };
    return agree(fast, cipher) ? fast : undefined;
  } catch {
    return undefined; // No koffi, or a Node that hides its OpenSSL: node:crypto does the same, slower.
  }
}

/** A known answer: what one seals the other seals alike, and opens. */
function agree(one: Cipher, other: Cipher): boolean {
  const key = Uint8Array.from({ length: 32 }, (_, index) => index);
  const nonce = new Uint8Array(12).fill(5);
  const sealed = [one, other].map((cipher) => {
    const data = Uint8Array.from({ length: 140 }, (_, index) => index);
    const aead = cipher.aead(key);
    aead.seal(nonce, data, 24, 124);
    const isOpen = aead.open(nonce, data, 24, new Uint8Array(100)) === 100;
    aead.close();
    return isOpen ? Buffer.from(data).toString("hex") : cipher;
  });
  return sealed[0] === sealed[1];
}

class NodeAead implements Aead {
  private readonly key: Uint8Array;

  constructor(key: Uint8Array) {
    this.key = key.slice();
  }

  seal(nonce: Uint8Array, data: Uint8Array, start: number, end: number): void {
    const cipher = createCipheriv("aes-256-gcm", this.key, nonce);
    cipher.setAAD(data.subarray(0, start));
    data.set(cipher.update(data.subarray(start, end)), start);
    cipher.final();
    data.set(cipher.getAuthTag(), end);
  }

  open(nonce: Uint8Array, data: Uint8Array, start: number, plain: Uint8Array): number {
    const end = data.length - TAG_BYTES;
    if (end < start) return -1;
    const decipher = createDecipheriv("aes-256-gcm", this.key, nonce);
    decipher.setAAD(data.subarray(0, start));
    decipher.setAuthTag(data.subarray(end));
    const opened = decipher.update(data.subarray(start, end));
    try {
      decipher.final();
    } catch {
      return -1; // The tag does not fit: the one way in which final() fails here.
    }
    plain.set(opened);
    return opened.length;
  }

  close(): void {
    this.key.fill(0);
  }
}
