/**
 * The Router of route.ts: rules in their order, the first one that matches decides; its pool's policy
 * orders the backends. Knows rules and policies; must not know connections or why a backend is unusable.
 */
import { nameMatches } from "./name.ts";
import { Balancer } from "./policy.ts";
import type { Pool } from "./policy.ts";
import { FirstBytesReader } from "./reader.ts";
import type { Silence } from "./reader.ts";
import { Alert, httpReply, resetReply, tlsReply } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { Decision, RequestHead, RequestReader, RouteContext, Router } from "./route.ts";
import { parsePool, parseRoute, RuleError } from "./rules.ts";
import type { Names, Rule } from "./rules.ts";

/** The text of what stands on the command line. */
export interface RoutingSource {
  /** Names of the configured backends. */
  readonly backends: readonly string[];
  readonly pools: readonly string[];
  readonly routes: readonly string[];
}

/**
 * Checks rules against the names they use. An error's message says the column in the text at fault.
 * @param onText called with each text before it is parsed, so that the caller can name it in an error
 */
export function parseRouting(
  source: RoutingSource,
  onText: (kind: "pool" | "route", text: string) => void = () => {},
): readonly Rule[] {
  const pools = new Map<string, Pool>();
  for (const text of source.pools) {
    onText("pool", text);
    const [name, pool] = parsePool(text, source.backends);
    if (pools.has(name)) throw new RuleError(1, `pool "${name}" stands twice`);
    pools.set(name, pool);
  }
  const names: Names = { backends: source.backends, pools };
  const rules: Rule[] = [];
  for (const text of source.routes) {
    onText("route", text);
    if (rules.at(-1)?.text === "default") {
      throw new RuleError(1, 'no rule after "default" can ever match');
    }
    rules.push(parseRoute(text, names));
  }
  return rules;
}

export function createRouter(rules: readonly Rule[]): Router {
  return new RuleRouter(rules);
}

interface Entry {
  readonly rule: Rule;
  readonly balancer: Balancer;
  /** Its name. */
  readonly pool: string;
}

class RuleRouter implements Router {
  private readonly entries: readonly Entry[];
  private readonly balancers = new Map<string, Balancer>();
  private readonly silence: Silence;

  constructor(rules: readonly Rule[]) {
    const shared = new Map<string, Balancer>();
    this.entries = rules.map((rule) => {
      return { rule, balancer: balancerOf(rule, shared), pool: poolOf(rule) };
    });
    // Of rules with the same members and no name, each has its turns; a move takes the first one's.
    for (const { pool, balancer } of this.entries) {
      if (!this.balancers.has(pool)) this.balancers.set(pool, balancer);
    }
    this.silence = silenceOf(rules);
  }

  get pools(): readonly string[] {
    return [...this.balancers.keys()];
  }

  candidates(pool: string, context: RouteContext): readonly string[] | undefined {
    return this.balancers.get(pool)?.candidates(context);
  }

  newReader(): RequestReader {
    return new FirstBytesReader(this.silence);
  }

  decide(head: RequestHead, context: RouteContext): Decision {
    const entry = this.entries.find(({ rule }) => matches(rule, head));
    if (!entry) return { kind: "reject", reason: "no rule matches", ...unrouted(head) };
    const rule = entry.rule.text;
    const { balancer, pool } = entry;
    const candidates = balancer.candidates(context);
    if (candidates.length > 0) return { kind: "backend", candidates, rule, pool };
    const reason = `no backend of "${rule}" is usable`;
    if (entry.rule.pool.backends.some((backend) => context.mayReturn(backend))) {
      return { kind: "wait", reason };
    }
    return { kind: "reject", reason, ...this.unavailable(head) };
  }

  unavailable(head: RequestHead): Reply {
    if (head.protocol === "http") return httpReply(503, head.method);
    return head.protocol === "tls" ? tlsReply(Alert.internalError) : resetReply();
  }
}

function poolOf(rule: Rule): string {
  return rule.poolName ?? rule.pool.backends.join();
}

function balancerOf(rule: Rule, shared: Map<string, Balancer>): Balancer {
  const known = rule.poolName === undefined ? undefined : shared.get(rule.poolName);
  const balancer = known ?? new Balancer(rule.pool);
  if (rule.poolName !== undefined) shared.set(rule.poolName, balancer);
  return balancer;
}

function matches(rule: Rule, head: RequestHead): boolean {
  if (rule.protocol !== undefined && rule.protocol !== head.protocol) return false;
  switch (head.protocol) {
    case "http": {
      const { host, path } = head;
      return any(rule.host, host, nameMatches) && any(rule.path, path, pathMatches);
    }
    case "tls": {
      const { serverName, alpn } = head;
      return (
        any(rule.sni, serverName, nameMatches) &&
        any(rule.alpn, alpn, (name, offered) => offered.includes(name))
      );
    }
    case "other":
      return true;
  }
}

/** Whether one of the patterns fits, or there is none. */
function any<T>(
  patterns: readonly string[],
  value: T,
  fits: (pattern: string, value: T) => boolean,
): boolean {
  if (patterns.length === 0) return true;
  for (const pattern of patterns) if (fits(pattern, value)) return true;
  return false;
}

/** `/x/*` takes everything below `/x/`, and `/x/` itself; bytes are compared as they were sent. */
function pathMatches(pattern: string, path: string): boolean {
  return pattern.endsWith("/*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
}

function unrouted(head: RequestHead): Reply {
  if (head.protocol === "http") return httpReply(404, head.method);
  return head.protocol === "tls" ? tlsReply(Alert.unrecognizedName) : resetReply();
}

/**
 * A client that says nothing waits for the server's greeting where rules speak of other protocols. It
 * gets no HTTP answer where rules speak of TLS, for it could not read one.
 */
function silenceOf(rules: readonly Rule[]): Silence {
  if (rules.some((rule) => rule.protocol === "other")) return "other";
  return rules.some((rule) => rule.protocol === "tls") ? "tls" : "http";
}
