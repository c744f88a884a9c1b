/**
 * A self-signed certificate for the demo's HTTPS server, made in memory so that no key touches a disk.
 * Knows just enough DER for one X.509 version 3 certificate (RFC 5280 4.1) with an ECDSA key; must not
 * be used for anything but a lab.
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";

export interface KeyAndCertificate {
  /** PEM. */
  readonly key: string;
  readonly certificate: string;
}

const DAY_MS = 86_400_000;
/** ecdsa-with-SHA256, commonName, subjectAltName: encoded object identifiers. */
const ECDSA_SHA256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const COMMON_NAME = [0x06, 0x03, 0x55, 0x04, 0x03];
const ALT_NAME = [0x06, 0x03, 0x55, 0x1d, 0x11];

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;

/** Valid for these DNS names, from a day ago to `days` from now. */
export function makeCertificate(names: readonly string[], days = 30): KeyAndCertificate {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = der(SEQUENCE, Buffer.from(ECDSA_SHA256));
  const subject = nameOf(names[0] ?? "localhost");
  const validity = der(SEQUENCE, time(Date.now() - DAY_MS), time(Date.now() + days * DAY_MS));
  const body = der(
    SEQUENCE,
    der(VERSION, der(INTEGER, Buffer.of(2))),
    der(INTEGER, Buffer.concat([Buffer.of(1), randomBytes(8)])),
    algorithm,
    subject,
    validity,
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    der(EXTENSIONS, der(SEQUENCE, altNames(names))),
  );
  const signature = Buffer.concat([Buffer.of(0), sign("sha256", body, privateKey)]);
  const whole = der(SEQUENCE, body, algorithm, der(BIT_STRING, signature));
  const lines = whole.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    certificate: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
  };
}

function nameOf(commonName: string): Buffer {
  const value = der(UTF8_STRING, Buffer.from(commonName));
  return der(SEQUENCE, der(SET, der(SEQUENCE, Buffer.from(COMMON_NAME), value)));
}

function altNames(names: readonly string[]): Buffer {
  const list = der(SEQUENCE, ...names.map((name) => der(DNS_NAME, Buffer.from(name))));
  return der(SEQUENCE, Buffer.from(ALT_NAME), der(OCTET_STRING, list));
}

/** UTCTime, which RFC 5280 wants for years before 2050. */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "");
  return der(UTC_TIME, Buffer.from(digits.slice(2)));
}

/** Tag, length, contents; lengths below 64 KiB. */
function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const value = Buffer.concat(contents);
  const { length } = value;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), value]);
}
