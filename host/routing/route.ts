/**
 * The contract between the classifier and routing: bytes of a request go in, a decision comes out.
 * Knows protocols and rules; must not know connections, backends' health comes in as a predicate.
 */

/** What was read from the first bytes of a connection. */
export type RequestHead =
  | {
      readonly protocol: "http";
      readonly method: string;
      readonly path: string;
      readonly host: string;
    }
  | { readonly protocol: "tls"; readonly serverName: string; readonly alpn: readonly string[] }
  | { readonly protocol: "other" };

export type ReadResult =
  /** More bytes are needed. */
  | { readonly kind: "more" }
  | { readonly kind: "head"; readonly head: RequestHead }
  /** Answer with `reply` (may be empty) and close; `reset`: RST instead. */
  | {
      readonly kind: "reject";
      readonly reason: string;
      readonly reply: Uint8Array;
      readonly reset: boolean;
    };

/** Reads one connection's first bytes, incrementally: each call sees all bytes so far, from the first one. */
export interface RequestReader {
  /** `bytes` are all unread bytes, possibly only some more than at the last call. */
  read(bytes: Uint8Array): ReadResult;
  /**
   * The time for the head is over: what was read so far decides. Never "more"; "other" when the client
   * speaks no protocol we know, or waits for the server to speak first.
   */
  expire(): ReadResult;
}

export type Decision =
  /** `candidates` in order of preference; try the next when one refuses. */
  | {
      readonly kind: "backend";
      readonly candidates: readonly string[];
      readonly rule: string;
      /** Its members may have the connection later, too. */
      readonly pool: string;
    }
  /** Nobody can be used now, but somebody perhaps in a moment; `reason` as for "reject". */
  | { readonly kind: "wait"; readonly reason: string }
  | {
      readonly kind: "reject";
      readonly reason: string;
      readonly reply: Uint8Array;
      readonly reset: boolean;
    };

export interface RouteContext {
  readonly clientAddress: string;
  /** False: suspect, dead or draining, or without credits. */
  readonly usable: (backend: string) => boolean;
  /** Of one that is not usable: it may be again in a moment, for it is only suspect or out of credits. */
  readonly mayReturn: (backend: string) => boolean;
  /** Open connections by backend, for policies. */
  readonly load: (backend: string) => number;
}

export interface Router {
  /** Names of all pools; one that has no name of its own is called as its members stand in the rule. */
  readonly pools: readonly string[];
  newReader(): RequestReader;
  /** Usable members of a pool, the best first; undefined for an unknown one. */
  candidates(pool: string, context: RouteContext): readonly string[] | undefined;
  decide(head: RequestHead, context: RouteContext): Decision;
  /** Nobody took the connection: HTTP 503, a TLS alert, or RST. */
  unavailable(head: RequestHead): { readonly reply: Uint8Array; readonly reset: boolean };
}
