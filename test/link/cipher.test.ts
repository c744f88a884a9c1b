import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCipher, createFastCipher, createNodeCipher } from "../../host/link/cipher.ts";
import type { Cipher } from "../../host/node/environment.ts";

const cipher = suite("cipher");
const fast = createFastCipher();
const ALL: [string, Cipher][] = [["node:crypto", createNodeCipher()]];
if (fast) ALL.push(["EVP", fast]);
else console.log("SKIP EVP: this Node does not offer OpenSSL's symbols, or koffi is missing");

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const pattern = (length: number, step: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => index * step + 1);

cipher("seals as the GCM specification says, test case 16", () => {
  const plain =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
  const sealed =
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
    "76fc6ece0f4e1768cddf8853bb2d551b";
  const header = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  for (const [name, { aead }] of ALL) {
    const data = new Uint8Array(20 + 60 + 16);
    data.set(header);
    data.set(hex(plain), 20);
    aead(key).seal(hex("cafebabefacedbaddecaf888"), data, 20, 80);
    assert.is(Buffer.from(data.subarray(20)).toString("hex"), sealed, name);
  }
});

cipher("derives as RFC 5869 says, test case 1", () => {
  const { hkdf } = createCipher();
  const okm = hkdf(
    new Uint8Array(22).fill(0x0b),
    hex("000102030405060708090a0b0c"),
    hex("f0f1f2f3f4f5f6f7f8f9"),
    42,
  );
  assert.is(
    Buffer.from(okm).toString("hex"),
    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
  );
});

cipher("every implementation opens what every other one seals, of any length", () => {
  const key = pattern(32, 7);
  const aeads = ALL.map(([, { aead }]) => aead(key));
  const plain = new Uint8Array(1_400);
  for (const length of [0, 1, 15, 16, 17, 100, 1_359, 1_360]) {
    for (const header of [0, 1, 24]) {
      const nonce = pattern(12, length + header);
      for (const sealer of aeads) {
        for (const opener of aeads) {
          const data = pattern(header + length + 16, 3);
          const before = data.slice();
          sealer.seal(nonce, data, header, header + length);
          assert.equal(data.subarray(0, header), before.subarray(0, header));
          const sealed = data.slice();
          assert.is(opener.open(nonce, data, header, plain), length);
          assert.equal(plain.subarray(0, length), before.subarray(header, header + length));
          assert.equal(data, sealed, "open leaves the datagram as it was");
        }
      }
    }
  }
  for (const aead of aeads) aead.close();
});

cipher(
  "any flipped bit, other nonce, other key or missing tag is refused, and then all is well",
  () => {
    const plain = new Uint8Array(1_400);
    for (const [name, { aead }] of ALL) {
      const [right, wrong] = [aead(pattern(32, 1)), aead(pattern(32, 2))];
      const nonce = pattern(12, 9);
      const data = pattern(24 + 50 + 16, 5);
      right.seal(nonce, data, 24, 74);
      for (let bit = 0; bit < data.length * 8; bit += 1) {
        data[bit >> 3]! ^= 1 << (bit & 7);
        assert.is(right.open(nonce, data, 24, plain), -1, `${name} bit ${bit}`);
        data[bit >> 3]! ^= 1 << (bit & 7);
      }
      for (let length = 0; length < data.length; length += 1) {
        assert.is(right.open(nonce, data.subarray(0, length), 24, plain), -1, `${name} ${length}`);
      }
      assert.is(right.open(pattern(12, 8), data, 24, plain), -1);
      assert.is(wrong.open(nonce, data, 24, plain), -1);
      assert.is(right.open(nonce, data, 24, plain), 50);
      right.close();
      wrong.close();
    }
  },
);

cipher("keys are copied, and closing one twice is harmless", () => {
  for (const [, { aead }] of ALL) {
    const key = pattern(32, 1);
    const one = aead(key);
    key.fill(0);
    const other = aead(pattern(32, 1));
    const data = pattern(40 + 16, 1);
    one.seal(new Uint8Array(12), data, 0, 40);
    assert.is(other.open(new Uint8Array(12), data, 0, new Uint8Array(40)), 40);
    one.close();
    one.close();
    other.close();
  }
});

cipher.run();
