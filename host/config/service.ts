/**
 * A service address as a user writes it, and how its requests are routed. Knows notation and which rules fit;
 * must not know how a request is read.
 */
import { BatonError } from "../errors.ts";
import type { Routing } from "../node/connection.ts";
import type { Rule } from "../routing/rules.ts";
import { expected, parseService } from "./values.ts";
import type { ServiceAddress } from "./values.ts";

const ROUTINGS = ["connection", "request"] as const satisfies readonly Routing[];

export interface Service extends ServiceAddress {
  readonly routing: Routing;
}

export const SERVICE_FORM = "ADDRESS:PORT[,routing=request]";

/** `10.0.0.100:80`, `[fd00::100]:80,routing=request` */
export function parseVip(text: string): Service {
  const [address = "", ...options] = text.split(",");
  const service = parseService(address);
  const [option, second] = options;
  if (second !== undefined) throw expected("at most one option, routing=", second);
  if (option === undefined) return { ...service, routing: "connection" };
  const routing = ROUTINGS.find((each) => option === `routing=${each}`);
  if (routing === undefined) throw expected("routing=connection or routing=request", option);
  return { ...service, routing };
}

/**
 * Requests are HTTP/1's. Rules hold for all services: one about something else must have a service that is routed by
 * connection, and a service that is routed by request a rule that HTTP can match.
 */
export function checkRouting(services: readonly Service[], rules: readonly Rule[]): void {
  const byRequest = services.find(({ routing }) => routing === "request");
  if (!byRequest) return;
  const { address, family, port } = byRequest;
  const where = `--vip ${family === 6 ? `[${address}]` : address}:${port},routing=request`;
  const isHttp = ({ protocol }: Rule): boolean => protocol === undefined || protocol === "http";
  const fault = (what: string): BatonError =>
    new BatonError("ERR_BATON_CONFIG", `${where}: only HTTP/1 has requests: ${what}`);
  if (!rules.some(isHttp)) throw fault("expected a rule for it, got none");
  const foreign = rules.find((rule) => !isHttp(rule));
  const isPossible = services.some(({ routing }) => routing === "connection");
  if (foreign && !isPossible) {
    const rule = JSON.stringify(foreign.text);
    throw fault(`expected rules for it, or a --vip without routing=request, got ${rule}`);
  }
}
