/**
 * The cipher suite over node:crypto: works wherever Node does, and is the reference for faster ones.
 * Knows Node's calls; must not know system calls, nor what is sealed. RFC 5869 (HKDF), RFC 2104 (HMAC),
 * NIST SP 800-38D (GCM).
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from "node:crypto";
import type { Aead, Cipher } from "../node/environment.ts";

const TAG_BYTES = 16;

export function createNodeCipher(): Cipher {
  return {
    hkdf: (key, salt, info, length) => new Uint8Array(hkdfSync("sha256", key, salt, info, length)),
    hmac: (key, data) => createHmac("sha256", key).update(data).digest(),
    sha256: (data) => createHash("sha256").update(data).digest(),
    aead: (key) => new NodeAead(key),
  };
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
