/**
 * What an operator's command and a daemon say to each other: one JSON object a line, the request first.
 * Knows their form; must not know sockets, nor what an order does.
 */

/** Bytes of one line, its end included; an answer has a few reasons of 80 bytes, and names. */
export const LINE_MAX = 8_192;

export interface ControlRequest {
  readonly do: "drain" | "undrain" | "status";
  readonly backend: string;
}

/** Connections that are still there, and why. */
export interface ControlRemaining {
  readonly reason: string;
  readonly count: number;
  readonly isFinal: boolean;
}

export type ControlAnswer =
  /** The order was not given. */
  | { readonly event: "error"; readonly message: string }
  /** After the order, and again whenever something changed. */
  | {
      readonly event: "progress";
      readonly backend: string;
      readonly alive: boolean;
      /** The backend has confirmed the order; the rest is meaningless before that. */
      readonly confirmed: boolean;
      readonly draining: boolean;
      readonly open: number;
      readonly moving: number;
      readonly moved: number;
      readonly lost: number;
      readonly remaining: readonly ControlRemaining[];
    };

export type ControlProgress = Extract<ControlAnswer, { event: "progress" }>;

const ORDERS: readonly string[] = ["drain", "undrain", "status"];

/** The request of a line; undefined when it is none. */
export function parseRequest(line: string): ControlRequest | undefined {
  const { do: order, backend } = parseObject(line);
  if (typeof order !== "string" || !ORDERS.includes(order)) return undefined;
  if (typeof backend !== "string" || backend === "" || backend.length > 255) return undefined;
  return { do: order as ControlRequest["do"], backend };
}

/** The answer of a line; undefined when it is none: something else may serve the socket. */
export function parseAnswer(line: string): ControlAnswer | undefined {
  const value = parseObject(line);
  const { event, message, backend, remaining } = value;
  const isError = event === "error" && typeof message === "string";
  const isProgress =
    event === "progress" && typeof backend === "string" && Array.isArray(remaining);
  return isError || isProgress ? (value as unknown as ControlAnswer) : undefined;
}

/** Empty when the line is no JSON object. */
function parseObject(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return {};
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  return value as Record<string, unknown>;
}
