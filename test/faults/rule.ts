// What the fault proxy can be told: which requests, how often, and what becomes of them.
import type { JsonObject } from '../../src/acme/json-object.ts'

/** What a request is about. The proxy learns it from what passes by, as a client does (RFC 8555 §7.1). */
export const endpointKinds = [
  ...(['directory', 'newNonce', 'newAccount', 'newOrder', 'order', 'authorization', 'challenge', 'finalize'] as const),
  ...(['certificate', 'renewalInfo', 'revokeCert', 'keyChange', 'account', 'orders', 'other'] as const),
] as const
export type EndpointKind = (typeof endpointKinds)[number]

/** A request as a rule sees it. */
export type SeenRequest = {
  /** Counted from 0 over all requests. */
  readonly index: number
  readonly endpoint: EndpointKind
  /** Counted from 1 among the requests to this kind of endpoint. */
  readonly endpointCount: number
  readonly method: string
  readonly path: string
  /** Scheme, host and port as the client wrote them: what the URLs in answers begin with. */
  readonly origin: string
  /** What was signed; undefined for GET, HEAD and POST-as-GET. */
  readonly payload: JsonObject | undefined
  /** Between 0 and 1, the next one at every call; the same for the same seed. */
  readonly random: () => number
}

/** Text, JSON, or a function of the request's path that makes one of them. */
export type AnswerBody = string | JsonObject | ((request: SeenRequest) => string | JsonObject)

type HeaderValues = Readonly<Record<string, string | readonly string[]>>

/** Something else happens on the way, and the request still reaches the CA; several may act on one request. */
export type Change =
  /** `at`: before the CA has it (as by default), or when its answer is there. */
  | { readonly do: 'delay'; readonly ms: number; readonly at?: 'before' | 'after' }
  /** JSON answers that are no errors; what the function returns is sent instead. */
  | { readonly do: 'replaceJson'; readonly body: (body: JsonObject, request: SeenRequest) => JsonObject }
  /** Any answer that is no error: `certificate` for instance. */
  | {
      readonly do: 'replaceBody'
      readonly body: string | ((text: string, request: SeenRequest) => string | Promise<string>)
    }
  /** The directory only. What it names is known as an endpoint from then on. */
  | { readonly do: 'rewriteDirectory'; readonly directory: (body: JsonObject, request: SeenRequest) => JsonObject }
  /** The answer's Replay-Nonce is one that was used before. */
  | { readonly do: 'staleNonce' }
  | {
      readonly do: 'headers'
      readonly add?: HeaderValues
      readonly replace?: HeaderValues
      readonly remove?: readonly string[]
    }
  /** For a test that must act at exactly this moment, and is waited for. */
  | {
      readonly do: 'onRequest'
      /** Before the CA has it. */
      readonly before?: (request: SeenRequest) => void | Promise<void>
      /** The CA has answered, the client has nothing yet. */
      readonly after?: (request: SeenRequest) => void | Promise<void>
      /** The client has its answer, or is gone. */
      readonly answered?: (request: SeenRequest) => void | Promise<void>
    }

/** How a request ends instead of by the CA's own answer; the first that applies wins. */
export type Ending =
  | {
      readonly do: 'status'
      readonly status: number
      readonly retryAfter?: string
      /** The last part of an RFC 8555 §6.7 type, or a whole URN or URL; none is `about:blank`. */
      readonly problemType?: string
      readonly detail?: string
      readonly subproblems?: readonly JsonObject[]
      /** A page as a load balancer writes it, in place of problem+json. */
      readonly html?: true
      readonly headers?: HeaderValues
      /** The CA gets the request and does what it asks; only its answer is another. */
      readonly forwarded?: true
    }
  /** The connection ends and the CA has seen nothing. */
  | { readonly do: 'cutBefore' }
  /** The CA has done what was asked, and the connection ends in place of its answer: the lost reply. */
  | { readonly do: 'cutAfter' }
  /** Accepted, and never answered. */
  | { readonly do: 'silence' }
  /** The CA's answer, its body that slowly. */
  | { readonly do: 'drip'; readonly bytesPerSecond: number }
  /** 200 and a body without end. */
  | { readonly do: 'endless' }
  /** The whole Content-Length, half of the body, then the connection ends. */
  | { readonly do: 'truncate' }
  /** 200 with a page. */
  | { readonly do: 'html'; readonly forwarded?: true }
  /** 200 with nothing. */
  | { readonly do: 'emptyBody'; readonly forwarded?: true }
  /** Answers in place of a CA that has no renewal information (RFC 9773); `endpoint` is `renewalInfo` unless given. */
  | { readonly do: 'ari'; readonly body: AnswerBody; readonly status?: number; readonly retryAfter?: string }

export type Action = Change | Ending

export type Rule = {
  /** Any when absent. */
  readonly endpoint?: EndpointKind | readonly EndpointKind[]
  /** More to ask of a request, its method or payload for instance. */
  readonly when?: (request: SeenRequest) => boolean
  /** Counted from 1 among the requests that this rule is about; `to` included. */
  readonly nth?: number | { readonly from?: number; readonly to?: number }
  /** 0 to 1; always when absent. */
  readonly probability?: number
  /** How often it acts at most. */
  readonly times?: number
  /** A function chooses one for each request. */
  readonly action: Action | ((request: SeenRequest) => Action)
}

/** What the proxy did with one request. */
export type LogEntry = {
  readonly atMs: number
  readonly index: number
  readonly endpoint: EndpointKind
  readonly method: string
  readonly path: string
  /** What rules did, in order; empty when it just passed. */
  readonly actions: readonly Action['do'][]
  /** Whether the CA has got it. */
  readonly forwarded: boolean
  /** What the client was answered; undefined when it got nothing (yet). */
  readonly status: number | undefined
  /** The CA's own error type, without its prefix: `badNonce` for instance. */
  readonly problem: string | undefined
  /** What went wrong by itself: the CA could not be reached, or a rule's function threw. */
  readonly error: string | undefined
}
