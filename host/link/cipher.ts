/**
 * The cipher suite of a daemon: the fastest that this process can have. Knows which there are; must not
 * know what is sealed.
 */
import type { Cipher } from "../node/environment.ts";
import { Evp } from "./evp.ts";
import { createNodeCipher } from "./nodecipher.ts";

export { createNodeCipher } from "./nodecipher.ts";

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
