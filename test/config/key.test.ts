import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generateKey, parseKeys, readKeyFile, writeKeyFile } from "../../host/config/key.ts";
import { BatonError } from "../../host/errors.ts";

const key = suite("cluster key");
const folder = mkdtempSync(join(tmpdir(), `baton-key-${process.pid}-`));
key.after(() => rmSync(folder, { recursive: true }));

const A = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const B = Buffer.from(A, "hex").reverse().toString("base64");

function file(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
  return path;
}

function refused(action: () => unknown, message: RegExp): void {
  assert.throws(action, (error: unknown) => {
    assert.instance(error, BatonError);
    assert.is((error as BatonError).code, "ERR_BATON_KEY");
    assert.match((error as BatonError).message, message);
    return true;
  });
}

key("one in hexadecimal, one in base64, comments and empty lines are read", () => {
  const { keys } = readKeyFile(file("two", `# new\n${A}\r\n\n  ${B}  # old\n`));
  assert.equal(
    keys.map((bytes) => Buffer.from(bytes).toString("hex")),
    [A, Buffer.from(B, "base64").toString("hex")],
  );
});

key("base64 without padding and of the other alphabet is read", () => {
  const bytes = Buffer.alloc(32, 0xfb);
  assert.equal(Buffer.from(parseKeys(bytes.toString("base64url"), "k").keys[0]!), bytes);
});

key("a file that others may read, write or run is refused", () => {
  for (const mode of [0o640, 0o604, 0o660, 0o620, 0o601, 0o644]) {
    refused(() => readKeyFile(file(`m${mode}`, A, mode)), /for its owner only .* got mode 6\d\d/);
  }
  assert.is(readKeyFile(file("ok", A, 0o400)).keys.length, 1);
});

key(
  "the secret of connections' numbers stays when keys are replaced; without one it is the first key",
  () => {
    const secret = "5c".repeat(32);
    const C = "c3".repeat(32);
    const hex = (text: string) => Buffer.from(parseKeys(text, "k").secret).toString("hex");
    for (const keys of [A, `${A}\n${C}`, `${C}\n${A}`, C]) {
      assert.is(hex(`${keys}\nsecret ${secret}\n`), secret);
      assert.is(hex(`secret   ${secret} # of connections\n${keys}`), secret);
    }
    assert.is(hex(`${A}\n${C}`), A);
    refused(() => parseKeys(`${A}\nsecret ${A}\nsecret ${C}`, "k"), /expected one secret, got 2/);
    refused(() => parseKeys(`secret ${C}`, "k"), /expected one or two keys, got none/);
    refused(() => parseKeys(`${A}\nsecret ${C}0`, "k"), /line 2: expected 32 bytes .*got 65 char/);
  },
);

key("what is not a key file is refused with a clear error that shows no key", () => {
  refused(() => readKeyFile(join(folder, "missing")), /expected a readable file, got ENOENT/);
  mkdirSync(join(folder, "dir"), { mode: 0o700 });
  refused(() => readKeyFile(join(folder, "dir")), /expected a regular file/);
  refused(() => readKeyFile(file("empty", "# nothing\n")), /expected one or two keys, got none/);
  refused(() => readKeyFile(file("three", `${A}\n${B}\n${A}`)), /one or two keys, got 3/);
  refused(() => readKeyFile(file("same", `${A}\n${A}`)), /two different keys/);
  refused(() => readKeyFile(file("long", "#".repeat(20_000))), /at most 16384 bytes, got 20000/);
  for (const bad of [A.slice(2), `${A}0`, "zz".repeat(32), "secret", "\u0000"]) {
    refused(() => readKeyFile(file("bad", `${B}\n${bad}`)), /line 2: expected 32 bytes as 64/);
    try {
      parseKeys(bad, "k");
    } catch (error) {
      if (bad.length > 20) assert.not.match((error as Error).message, bad);
    }
  }
});

key("a generated key is fresh, written for its owner only, and never over another", () => {
  const path = join(folder, "generated");
  writeKeyFile(path);
  assert.is(statSync(path).mode & 0o777, 0o600);
  const { keys, secret } = readKeyFile(path);
  assert.equal([keys.length, keys[0]!.length, secret.length], [1, 32, 32]);
  assert.not.equal(keys[0], secret);
  refused(() => writeKeyFile(path), /expected a new file, got EEXIST/);
  assert.not.equal(generateKey(), generateKey());
});

key.run();
