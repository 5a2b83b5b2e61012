import { type Identifier, parseWireIdentifier } from './identifier.ts'
import { isJsonObject, optionalTimeMs, requireString, requireStrings } from './json-object.ts'
import { type Problem, parseProblem } from './problem.ts'

type OrderCommon = {
  readonly url: string
  readonly identifiers: readonly Identifier[]
  readonly authorizationUrls: readonly string[]
  readonly finalizeUrl: string
  readonly expiresAtMs?: number
}

/** RFC 8555 §7.1.3 and §7.1.6. Data that exists only in one status lives only in that member. */
export type Order =
  | (OrderCommon & { readonly status: 'pending' | 'ready' | 'processing' })
  | (OrderCommon & { readonly status: 'valid'; readonly certificateUrl: string })
  | (OrderCommon & { readonly status: 'invalid'; readonly problem?: Problem })

const maxIdentifiers = 1000

/** @throws TypeError naming what is wrong */
export function parseOrder(url: string, body: unknown): Order {
  if (!isJsonObject(body)) throw new TypeError('the order is no JSON object')
  const identifiers = Array.isArray(body.identifiers) ? body.identifiers : []
  const expiresAtMs = optionalTimeMs(body, 'expires')
  const common: OrderCommon = {
    url,
    identifiers: identifiers.slice(0, maxIdentifiers).map(parseWireIdentifier),
    authorizationUrls: requireStrings(body, 'authorizations', maxIdentifiers),
    finalizeUrl: requireString(body, 'finalize'),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  }
  const status = requireString(body, 'status')
  switch (status) {
    case 'pending':
    case 'ready':
    case 'processing':
      return { ...common, status }
    case 'valid':
      return { ...common, status, certificateUrl: requireString(body, 'certificate') }
    case 'invalid': {
      const error = body.error
      return {
        ...common,
        status,
        ...(isJsonObject(error) ? { problem: parseProblem(Number(error.status ?? 400), error) } : {}),
      }
    }
    default:
      throw new TypeError(`order status ${status}`)
  }
}
