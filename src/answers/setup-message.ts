/** What the server and a responder in a process of its own tell each other beside questions and answers. */
import type { ChallengeType } from '../acme/challenge.ts'
import { isJsonObject, type JsonObject, optionalString, requireStrings } from '../acme/json-object.ts'
import type { ResponderZone } from '../plugin-api.ts'
import type { ResponderAddresses, ResponderSetup } from '../responder-addresses.ts'

/** Of one question: a name of 255 octets may be written with four characters for each. */
export const maxQuestionBytes = 8 * 1024
/** Of what the server says: zones and addresses are an operator's, and few. */
export const maxReplyBytes = 1024 * 1024
/** Of the TXT values in one answer; DNS can send no more. */
export const maxTextsBytes = 60 * 1024

const challengeTypes: readonly ChallengeType[] = ['http-01', 'tls-alpn-01', 'dns-01']
const maxAddresses = 100
const maxZones = 10_000

export function formatSetup({ addresses, zones }: ResponderSetup): JsonObject {
  return { addresses, zones }
}

/** @throws TypeError naming what is wrong */
export function parseSetup(content: JsonObject): ResponderSetup {
  const { zones } = content
  if (!Array.isArray(zones) || zones.length > maxZones) throw new TypeError('"zones" is no list')
  return { addresses: parseAddresses(content.addresses), zones: zones.map(parseZone) }
}

/** @throws TypeError naming what is wrong */
export function parseAddresses(value: unknown): ResponderAddresses {
  if (!isJsonObject(value)) throw new TypeError('"addresses" is no object')
  return Object.fromEntries(
    challengeTypes
      .filter((type) => value[type] !== undefined)
      .map((type) => [type, requireStrings(value, type, maxAddresses)]),
  )
}

function parseZone(zone: unknown): ResponderZone {
  if (!isJsonObject(zone)) throw new TypeError('a zone is no object')
  return {
    name: optionalString(zone, 'name'),
    nameServers: requireStrings(zone, 'nameServers', maxAddresses),
    hostmaster: optionalString(zone, 'hostmaster'),
  }
}
