/**
 * Host names as rules compare them: lower case, without port and trailing dot. Knows the syntax of
 * authorities; must not know where they were read. RFC 3986 3.2.2, RFC 9110 7.2, RFC 4343 (case).
 */
import { isRegName } from "./bytes.ts";

/** Bytes of a name in text form, RFC 1035 2.3.4 rounded up; also enough for a bracketed IPv6 address. */
export const NAME_MAX = 255;

const PORT = /^(?::[0-9]{0,5})?$/;
const PATTERN = /^(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$/;
const IP_LITERAL = /^\[([0-9a-fA-F:.]{2,45})\]/;

/**
 * @param authority `uri-host [ ":" port ]`, as in Host or in an absolute request target
 * @returns the name, "" when the host is empty, undefined when the syntax is wrong
 */
export function authorityName(authority: string): string | undefined {
  const literal = IP_LITERAL.exec(authority);
  if (literal) {
    return PORT.test(authority.slice(literal[0].length)) ? literal[0].toLowerCase() : undefined;
  }
  const colon = authority.indexOf(":");
  const host = colon < 0 ? authority : authority.slice(0, colon);
  if (colon >= 0 && !PORT.test(authority.slice(colon))) return undefined;
  return host === "" ? "" : normalName(host);
}

/** Lower case, one trailing dot removed; undefined when it is no registered name. */
export function normalName(host: string): string | undefined {
  const name = (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase();
  if (name === "" || name.length > NAME_MAX) return undefined;
  if (name.startsWith(".") || name.endsWith(".") || name.includes("..")) return undefined;
  return isRegName(name) ? name : undefined;
}

/**
 * The pattern of a rule in the form that nameMatches takes, undefined when it is none.
 * @param literals whether a bracketed IPv6 address may stand in its place
 */
export function hostPattern(source: string, literals: boolean): string | undefined {
  if (literals && IP_LITERAL.exec(source)?.[0].length === source.length)
    return source.toLowerCase();
  return PATTERN.test(source) ? normalName(source) : undefined;
}

/** A pattern is a name, or `*.` and a name: any number of labels in its place, at least one. */
export function nameMatches(pattern: string, name: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === name;
  return name.length > pattern.length - 1 && name.endsWith(pattern.slice(1));
}
