import { type Challenge, parseChallenge } from './challenge.ts'
import { type Identifier, parseWireIdentifier } from './identifier.ts'
import { isJsonObject, optionalTimeMs, requireString } from './json-object.ts'

/** RFC 8555 §7.1.4. For a wildcard the identifier is the base name, without `*.`. */
export type Authorization = {
  readonly url: string
  readonly identifier: Identifier
  readonly wildcard: boolean
  readonly status: 'pending' | 'valid' | 'invalid' | 'deactivated' | 'expired' | 'revoked'
  readonly expiresAtMs?: number
  readonly challenges: readonly Challenge[]
}

const statuses = ['pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked'] as const

/** @throws TypeError naming what is wrong */
export function parseAuthorization(url: string, body: unknown): Authorization {
  if (!isJsonObject(body)) throw new TypeError('the authorization is no JSON object')
  const text = requireString(body, 'status')
  const status = statuses.find((known) => known === text)
  if (status === undefined) throw new TypeError(`authorization status ${text}`)
  const challenges = Array.isArray(body.challenges) ? body.challenges.slice(0, 50) : []
  const expiresAtMs = optionalTimeMs(body, 'expires')
  return {
    url,
    identifier: parseWireIdentifier(body.identifier),
    wildcard: body.wildcard === true,
    status,
    challenges: challenges.map(parseChallenge),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  }
}
