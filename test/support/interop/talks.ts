/**
 * How each client of the matrix is called, and what must have come of it. Knows programs, their flags and
 * their output; must not know paths, namespaces or what serves.
 */
import { createHash } from "node:crypto";
import { createWriteStream, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { RunResult } from "../../../host/lab/lab.ts";
import { patternChunks, patternSha256 } from "../../../host/lab/pattern.ts";
import { PYTHON_HTTP, PYTHON_SOCKET, WRK_ECHO } from "./scripts.ts";
import type { Talk } from "./table.ts";

/** One use of a client: where to, for what. */
export interface Call {
  readonly talk: Talk;
  readonly address: string;
  readonly port: number;
  /** The name of the service, by which the request is routed. */
  readonly host: string;
  readonly bytes: number;
  /** Whole time that the program may take. */
  readonly limitSeconds: number;
  /** How long those run that run for a time. */
  readonly runSeconds: number;
  /** The interpreter itself: what stands in PATH may be a slow script that finds it. */
  readonly python: string;
  /** SO_RCVBUF of python's sockets; 0: not set. */
  readonly receiveBuffer: number;
  /** A folder of its own, where it runs. */
  readonly folder: string;
  /** PEM of the certificates to trust. */
  readonly certificates: string;
}

/** What came of it. */
export interface Verdict {
  /** Empty when everything is as it must be. */
  readonly complaints: readonly string[];
  /** Bytes that were compared and right. */
  readonly bytes: number;
}

/** Files that the client reads: the bytes to send, a request, a script. */
export async function prepare(call: Call): Promise<void> {
  const { talk, folder, bytes } = call;
  const file = (name: string): string => join(folder, name);
  if (talk.act !== "download") {
    await pipeline(Readable.from(patternChunks(bytes)), createWriteStream(file("pattern")));
  }
  writeFileSync(file("trust.pem"), call.certificates);
  writeFileSync(
    file("script"),
    { python3: pythonOf(talk), wrk: WRK_ECHO }[talk.tool as string] ?? "",
  );
  writeFileSync(file("head"), headOf(call));
}

/** Program and arguments; it runs in its folder. */
export function commandOf(call: Call): readonly [string, ...string[]] {
  return COMMANDS[call.talk.tool](call);
}

export function judge(call: Call, ran: RunResult): Verdict {
  const { talk, bytes } = call;
  if (ran.status !== 0) {
    const said = `${ran.stderr} ${ran.stdout}`.trim().slice(-SAID_MAX);
    return wrong(`${talk.tool} ended with ${ran.status ?? ran.signal}: ${said}`);
  }
  if (talk.tool === "wrk") return judgeWrk(call, ran.stdout);
  if (talk.tool === "iperf3") return judgeIperf(ran.stdout);
  const down = bodyOf(call);
  if (typeof down === "string") return wrong(down);
  if (talk.act === "upload") {
    const got = /"bytes":(\d+),"sha256":"(\w+)"/.exec(down.toString("latin1"));
    return compare("the server got", Number(got?.[1]), got?.[2], bytes);
  }
  return compare("the client got", down.length, sha256(down), bytes);
}

const SAID_MAX = 300;

function wrong(complaint: string): Verdict {
  return { complaints: [complaint], bytes: 0 };
}

function compare(what: string, length: number, digest: string | undefined, bytes: number): Verdict {
  if (length === bytes && digest === patternSha256(bytes)) return { complaints: [], bytes };
  const got = length === bytes ? "as many with others among them" : String(length);
  return wrong(`${what}: expected ${bytes} bytes of the pattern, got ${got}`);
}

type Command = readonly [string, ...string[]];

const COMMANDS: Readonly<Record<Talk["tool"], (call: Call) => Command>> = {
  curl: (call) =>
    [
      ...["curl", "-sS", "--fail", "--max-time", `${call.limitSeconds}`, "--cacert", "trust.pem"],
      ...["--resolve", `${call.host}:${call.port}:${bracketed(call)}`, "--output", "down"],
      ...(call.talk.act === "upload" ? ["--upload-file", "pattern"] : []),
      `${call.talk.over}://${call.host}:${call.port}${pathOf(call)}`,
    ] as const as Command,
  wget: (call) =>
    [
      ...["wget", "-q", "-t", "1", "-T", `${call.limitSeconds}`, "--header", `Host: ${call.host}`],
      ...(call.talk.act === "upload" ? ["--method=PUT", "--body-file=pattern"] : []),
      ...["-O", "down", `http://${bracketed(call)}:${call.port}${pathOf(call)}`],
    ] as const as Command,
  nc: (call) => {
    const to = `nc -N -w ${call.limitSeconds} ${call.address} ${call.port}`;
    return ["sh", "-c", `cat head ${bodyFile(call)} | ${to} > down`];
  },
  openssl: (call) => {
    const to = `-connect ${bracketed(call)}:${call.port} -servername ${call.host}`;
    const trust = `-CAfile trust.pem -verify_return_error -verify_hostname ${call.host}`;
    const client = `openssl s_client -quiet ${to} ${trust}`;
    return ["sh", "-c", `cat head ${bodyFile(call)} | ${client} > down`];
  },
  python3: (call) => {
    const { address, port, host, bytes, limitSeconds, receiveBuffer, talk } = call;
    const words = [address, port, host, talk.act, bytes, limitSeconds, receiveBuffer].map(String);
    return [call.python, "script", ...words];
  },
  iperf3: ({ talk, address, port, runSeconds }) =>
    [
      ...["iperf3", "-J", "-c", address, "-p", String(port), "-t", String(runSeconds)],
      ...(talk.act === "download" ? ["-R"] : []),
    ] as const as Command,
  wrk: (call) =>
    [
      ...["wrk", "-t", "1", "-c", "8", "-d", `${call.runSeconds}s`],
      ...["--timeout", `${call.limitSeconds}s`, "-s", "script", "-H", `Host: ${call.host}`],
      `http://${bracketed(call)}:${call.port}/echo`,
    ] as const as Command,
};

function bodyFile({ talk }: Call): string {
  return talk.act === "download" ? "" : "pattern";
}

function pathOf({ talk, bytes }: Call): string {
  return talk.act === "download" ? `/bytes/${bytes}` : "/up";
}

function bracketed({ address }: Call): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** For clients that speak by hand. */
function headOf(call: Call): string {
  const method = { download: "GET", upload: "PUT", echo: "POST" }[call.talk.act];
  const length = call.talk.act === "download" ? 0 : call.bytes;
  const fields = [`Host: ${call.host}`, "Connection: close", `Content-Length: ${length}`];
  return [`${method} ${pathOf(call)} HTTP/1.1`, ...fields, "", ""].join("\r\n");
}

function pythonOf({ over }: Talk): string {
  return over === "raw" ? PYTHON_SOCKET : PYTHON_HTTP;
}

/** What came down, without the head of an answer that the client did not read itself; or what is wrong. */
function bodyOf({ talk, folder }: Call): Buffer | string {
  const path = join(folder, "down");
  if (!existsSync(path)) return "the client wrote nothing";
  const all = readFileSync(path);
  if (talk.tool !== "openssl") return all;
  const end = all.indexOf("\r\n\r\n");
  if (end < 0 || !/^HTTP\/1\.[01] 200 /.test(all.toString("latin1", 0, 16))) {
    return `expected a head with status 200, got ${all.toString("latin1", 0, 40)}`;
  }
  return all.subarray(end + 4);
}

function judgeWrk({ bytes }: Call, stdout: string): Verdict {
  const got = /^RESULT (.*)$/m.exec(stdout)?.[1];
  if (got === undefined) return wrong(`wrk: expected a result, got ${stdout.slice(-SAID_MAX)}`);
  const { good, bad, errors } = JSON.parse(got) as { good: number; bad: number; errors: number };
  if (good === 0 || bad > 0 || errors > 0) return wrong(`wrk: ${got}`);
  return { complaints: [], bytes: good * bytes };
}

interface IperfReport {
  readonly error?: string;
  readonly end?: Readonly<Record<"sum_sent" | "sum_received", { readonly bytes: number }>>;
}

/** It counts and does not compare: a part of a block that it sends again from the block's beginning is its own. */
function judgeIperf(stdout: string): Verdict {
  const { error, end } = JSON.parse(stdout) as IperfReport;
  if (error !== undefined || end === undefined) return wrong(`iperf3: ${error ?? "no result"}`);
  const [sent, received] = [end.sum_sent.bytes, end.sum_received.bytes];
  if (received > 0 && received <= sent) return { complaints: [], bytes: received };
  return wrong(`iperf3: expected to receive of ${sent} bytes sent, got ${received}`);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
