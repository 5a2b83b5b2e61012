// Faults of the way to the CA, and of a CA that has too much to do.
import type { Action, EndpointKind, Rule } from './rule.ts'

type Retrying = { readonly retryAfter?: string }

const retry = (retryAfter: string | undefined): Retrying => (retryAfter === undefined ? {} : { retryAfter })

/** The same rules, for fewer requests. `endpoint` is for rules that are about any. */
export function narrowRules(
  rules: readonly Rule[],
  { endpoint, ...limits }: Pick<Rule, 'endpoint' | 'nth' | 'times'>,
): Rule[] {
  return rules.map((rule) => ({ ...(endpoint === undefined ? {} : { endpoint }), ...rule, ...limits }))
}

function sometimes(probability: number, action: Rule['action']): Rule[] {
  return [{ probability, action }]
}

/** One of them at random. */
function oneOf(actions: readonly [Action, ...Action[]]): Rule['action'] {
  return ({ random }) => actions[Math.floor(random() * actions.length)] ?? actions[0]
}

export const serverErrors = (probability: number): Rule[] =>
  sometimes(
    probability,
    oneOf([
      { do: 'status', status: 500, problemType: 'serverInternal', detail: 'something went wrong here' },
      { do: 'status', status: 502, html: true },
      { do: 'status', status: 504, html: true },
    ]),
  )

/** The load balancer says so when the CA has already done it. */
export const lateServerErrors = (probability: number): Rule[] =>
  sometimes(probability, { do: 'status', status: 504, html: true, forwarded: true })

/** `retryAfter`: seconds, an HTTP-date, or nonsense. */
export const serviceUnavailable = (retryAfter?: string): Rule[] => [
  { action: { do: 'status', status: 503, problemType: 'serverInternal', detail: 'try later', ...retry(retryAfter) } },
]

export const rateLimitedNewOrder = (retryAfter?: string): Rule[] => [
  {
    endpoint: 'newOrder',
    action: {
      ...{ do: 'status', status: 429, problemType: 'rateLimited', detail: 'too many new orders recently' },
      headers: { Link: '<https://ca.example/docs/rate-limits>;rel="help"' },
      ...retry(retryAfter),
    },
  },
]

export const cutEverywhere = (probability: number): Rule[] =>
  sometimes(probability, oneOf([{ do: 'cutBefore' }, { do: 'cutAfter' }]))

/** Nobody is there. */
export const unreachable = (): Rule[] => [{ action: { do: 'cutBefore' } }]

const writes: readonly EndpointKind[] = ['newAccount', 'newOrder', 'challenge', 'finalize', 'certificate']

/** The first one at each of these, done by the CA and not told. */
export const lostReplies = (endpoints: readonly EndpointKind[] = writes): Rule[] =>
  endpoints.map((endpoint) => ({ endpoint, nth: 1, action: { do: 'cutAfter' } }))

export const slow = (ms: number): Rule[] => [{ action: { do: 'delay', ms } }]

export const silent = (probability: number): Rule[] => sometimes(probability, { do: 'silence' })

export const dripping = (bytesPerSecond: number): Rule[] => [{ action: { do: 'drip', bytesPerSecond } }]

export const endless = (probability: number): Rule[] => sometimes(probability, { do: 'endless' })

export const truncated = (probability: number): Rule[] => sometimes(probability, { do: 'truncate' })

export const htmlAnswers = (probability: number): Rule[] => sometimes(probability, { do: 'html' })

export const emptyAnswers = (probability: number): Rule[] => sometimes(probability, { do: 'emptyBody' })

export const staleNonces = (probability: number): Rule[] => sometimes(probability, { do: 'staleNonce' })

export const manyLinks = (count: number): Rule[] => [
  {
    action: {
      do: 'headers',
      add: { Link: Array.from({ length: count }, (_, i) => `<https://ca.example/${i}>;rel="alternate"`) },
    },
  },
]

/** Of a CA's size at most, and of a depth that nobody means. */
export const deepJson = (depth: number): Rule[] => [
  {
    endpoint: ['directory', 'newAccount', 'newOrder', 'order', 'authorization', 'challenge', 'finalize'],
    action: { do: 'replaceBody', body: `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}` },
  },
]
