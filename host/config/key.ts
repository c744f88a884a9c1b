/**
 * The cluster key in its file. Knows the file's form and who may read it; must not know what the keys
 * protect. Format: one key a line, 32 bytes in hexadecimal or base64; at most two, the first is the one
 * to send with; `#` begins a comment. A line `secret BYTES` is what connections' numbers derive from: it
 * stays when keys are replaced.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync, writeSync } from "node:fs";
import { BatonError } from "../errors.ts";

export const KEY_BYTES = 32;
const KEYS_MAX = 2;
/** A file of two keys and a long comment; anything longer is not a key file. */
const FILE_BYTES_MAX = 16_384;
const HEX = /^[0-9a-fA-F]{64}$/;
/** 32 bytes with or without padding, of either alphabet (RFC 4648, 4 and 5). */
const BASE64 = /^[A-Za-z0-9+/_-]{43}=?$/;
const SECRET = /^secret\s+(\S+)$/;
const OTHERS = 0o077;

export interface KeyFile {
  /** One or two of 32 bytes; the first is the one to send with. */
  readonly keys: readonly Uint8Array[];
  /**
   * What initial sequence numbers, SYN cookies and timestamp offsets derive from, the same on all nodes
   * (RFC 6528). Without a line of its own it is the first key, and changes with it.
   */
  readonly secret: Uint8Array;
}

/** Refuses a file that others could read or change. */
export function readKeyFile(path: string): KeyFile {
  return parseKeys(readPrivate(path), path);
}

/** A file's text; `name` is for messages, which never show a key. */
export function parseKeys(text: string, name: string): KeyFile {
  const keys: Uint8Array[] = [];
  const secrets: Uint8Array[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const content = line.replace(/#.*/, "").trim();
    if (content === "") continue;
    const [, secret] = SECRET.exec(content) ?? [];
    const bytes = parseBytes(secret ?? content, `${name} line ${index + 1}`);
    if (secret === undefined) keys.push(bytes);
    else secrets.push(bytes);
  }
  const [first] = keys;
  if (first === undefined || keys.length > KEYS_MAX) {
    throw keyError(`${name}: expected one or two keys, got ${keys.length || "none"}`);
  }
  if (keys.length === 2 && Buffer.compare(keys[0]!, keys[1]!) === 0) {
    throw keyError(`${name}: expected two different keys, got the same one twice`);
  }
  if (secrets.length > 1) throw keyError(`${name}: expected one secret, got ${secrets.length}`);
  return { keys, secret: secrets[0] ?? first };
}

function parseBytes(text: string, where: string): Uint8Array {
  if (!HEX.test(text) && !BASE64.test(text)) {
    throw keyError(
      `${where}: expected ${KEY_BYTES} bytes as 64 hexadecimal digits or as base64, ` +
        `got ${text.length} characters of something else`,
    );
  }
  return new Uint8Array(Buffer.from(text, HEX.test(text) ? "hex" : "base64"));
}

/** A fresh key, as a line of a key file. */
export function generateKey(): string {
  return `${randomBytes(KEY_BYTES).toString("hex")}\n`;
}

/** Writes a fresh key and secret to a new file that only its owner can read. Never replaces a file. */
export function writeKeyFile(path: string): void {
  const { O_CREAT, O_EXCL, O_WRONLY } = constants;
  let fd: number;
  try {
    fd = openSync(path, O_CREAT | O_EXCL | O_WRONLY, 0o600);
  } catch (cause) {
    throw fileError(path, "a new file", cause);
  }
  try {
    writeSync(fd, `${generateKey()}secret ${generateKey()}`);
  } finally {
    closeSync(fd);
  }
}

/** What was checked is what is read: both go by the same descriptor. */
function readPrivate(path: string): string {
  let fd: number;
  try {
    // A FIFO must not make the node wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw fileError(path, "a readable file", cause);
  }
  try {
    const { mode, size, uid } = fstatSync(fd);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) {
      throw keyError(`${path}: expected a regular file, got something else`);
    }
    if (process.platform !== "win32") checkAccess(path, mode, uid);
    if (size > FILE_BYTES_MAX) {
      throw keyError(`${path}: expected at most ${FILE_BYTES_MAX} bytes, got ${size}`);
    }
    return readFileSync(fd, "latin1");
  } finally {
    closeSync(fd);
  }
}

function checkAccess(path: string, mode: number, uid: number): void {
  if ((mode & OTHERS) !== 0) {
    const got = (mode & 0o777).toString(8).padStart(3, "0");
    throw keyError(`${path}: expected a file for its owner only (chmod 600), got mode ${got}`);
  }
  const own = process.geteuid?.() ?? uid;
  if (uid !== own && uid !== 0) {
    throw keyError(`${path}: expected a file of user ${own} or root, got one of user ${uid}`);
  }
}

function keyError(message: string): BatonError {
  return new BatonError("ERR_BATON_KEY", message);
}

function fileError(path: string, wanted: string, cause: unknown): BatonError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new BatonError("ERR_BATON_KEY", `${path}: expected ${wanted}, got ${code ?? message}`, {
    cause,
  });
}
