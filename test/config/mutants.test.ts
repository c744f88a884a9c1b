/**
 * Files and lines of operators, damaged: a key file is two keys at most or one error that shows none of them, a
 * `--config` file is a configuration or one line that names the flag, a line at the control socket is an order or nothing.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { forwarderConfig } from "../../host/config/config.ts";
import { KEY_BYTES, parseKeys } from "../../host/config/key.ts";
import { parseRequest } from "../../host/control/protocol.ts";
import { BatonError } from "../../host/errors.ts";
import { mutator, named, SEED } from "../support/mutate.ts";

const mutants = suite("mutated files and lines");

const folder = mkdtempSync(join(tmpdir(), `baton-mutants-${process.pid}-`));
mutants.after(() => rmSync(folder, { recursive: true }));

const HEX = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const BASE64 = Buffer.from(HEX, "hex").reverse().toString("base64");
/** So many characters of a key in a message would show it. */
const SHOWN_MAX = 8;

const samples = (texts: readonly string[]): Uint8Array[] =>
  texts.map((text) => Uint8Array.from(Buffer.from(text, "latin1")));
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** Undefined: it was taken. Anything but the one class of errors is thrown on. */
function refusal(action: () => void, code: string): string | undefined {
  try {
    action();
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    assert.is(error.code, code);
    return error.message;
  }
  return undefined;
}

mutants(`key files are keys, or an error that shows none (seed ${SEED})`, () => {
  const from = mutator(
    samples([
      `# new\n${HEX}\n${BASE64}\nsecret ${HEX}\n`,
      `${HEX}\r\nsecret ${BASE64} # c\r\n`,
      `${BASE64}\n`,
    ]),
  );
  let taken = 0;
  for (let turn = 0; turn < 2_000; turn++) {
    const bytes = from.next();
    const text = textOf(bytes);
    const message = refusal(() => {
      const { keys, secret } = parseKeys(text, "k");
      assert.ok(keys.length === 1 || keys.length === 2, named(bytes));
      for (const key of [...keys, secret]) assert.is(key.length, KEY_BYTES, named(bytes));
    }, "ERR_BATON_KEY");
    if (message === undefined) taken++;
    for (const key of [HEX, BASE64]) {
      for (let at = 0; message !== undefined && at + SHOWN_MAX <= key.length; at++) {
        assert.not.ok(message.includes(key.slice(at, at + SHOWN_MAX)), named(bytes));
      }
    }
  }
  assert.ok(taken > 100 && taken < 1_900, `${taken} taken`);
});

mutants(`--config files are values, or one line that names the flag (seed ${SEED})`, () => {
  const path = join(folder, "baton.json");
  const from = mutator(
    samples([
      '{"name": "f1", "vip": ["10.0.0.100:80"], "backend": "b1=10.1.0.11,tunnel=10.2.0.11", "tunnel": "10.2.0.1"}',
      '{"vip":["10.0.0.9:80","[fd00::9]:80"],"tunnel":["10.2.0.1","fd02::1"],"json":true,"mtu":1500,' +
        '"backend":["b1=[fd01::1],tunnel=10.2.0.11,tunnel=fd02::2"],"limit":"records=1024","route":"default -> b1"}',
    ]),
  );
  let taken = 0;
  for (let turn = 0; turn < 400; turn++) {
    const bytes = from.next();
    writeFileSync(path, bytes);
    const message = refusal(() => void forwarderConfig({ config: path }), "ERR_BATON_CONFIG");
    if (message === undefined) taken++;
    else assert.ok(/^--[a-z-]+[ :]/.test(message) && !message.includes("\n"), named(bytes));
  }
  assert.ok(taken > 20, `${taken} taken`);
});

mutants(`lines at the control socket are orders or nothing (seed ${SEED})`, () => {
  const from = mutator(
    samples(['{"do":"drain","backend":"b1"}', '{"backend":"b2","do":"status","more":[{}]}']),
  );
  let taken = 0;
  for (let turn = 0; turn < 3_000; turn++) {
    const bytes = from.next();
    const request = parseRequest(textOf(bytes));
    if (request === undefined) continue;
    taken++;
    assert.ok(["drain", "undrain", "status"].includes(request.do), named(bytes));
    assert.ok(request.backend.length > 0 && request.backend.length <= 255, named(bytes));
    assert.equal(Object.keys(request).sort(), ["backend", "do"], named(bytes));
  }
  assert.ok(taken > 100, `${taken} taken`);
});

mutants.run();
