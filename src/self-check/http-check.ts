import { isIPv6 } from 'node:net'
import { oneLine } from '../acme/problem.ts'
import type { ChallengeTask, CheckFinding } from '../plugin-api.ts'
import { combineFindings, describePlace } from './by-family.ts'
import { askPlace, type HttpAnswer } from './http-answer.ts'
import type { FindPlaces, Place } from './places.ts'

const maxRedirects = 10
const redirectStatuses = [301, 302, 303, 307, 308]
const maxServerLength = 60

/** Fetches an http-01 answer as a validator does (RFC 8555 §8.3), from every address of the name. */
export async function checkHttp(
  { identifier, challenge, keyAuthorization }: Pick<ChallengeTask, 'identifier' | 'challenge' | 'keyAuthorization'>,
  findPlaces: FindPlaces,
  userAgent: string,
  signal: AbortSignal,
): Promise<CheckFinding> {
  const host = isIPv6(identifier.value) ? `[${identifier.value}]` : identifier.value
  const url = new URL(`http://${host}/.well-known/acme-challenge/${challenge.token}`)
  const wrong = (what: string): CheckFinding => ({
    outcome: 'wrong',
    reason: `the token is not reachable at ${url.href}: ${what}`,
  })
  const unknown = (what: string): CheckFinding => ({ outcome: 'unknown', reason: what })

  async function lookAt(at: URL, place: Place, redirects: number): Promise<CheckFinding> {
    const answer = await askPlace(at, place, userAgent, signal)
    const where = describePlace(place)
    if (answer.status === undefined)
      return answer.isHttp ? unknown(`${where}: ${answer.reason}`) : wrong(`what ${where} sent is no HTTP`)
    const by = redirects === 0 ? '' : `redirected to ${at.origin}, `
    if (redirectStatuses.includes(answer.status) && answer.location !== undefined)
      return await follow(answer.location, at, redirects)
    const said = describeAnswer(answer, where, keyAuthorization)
    return said === undefined ? { outcome: 'visible' } : wrong(`${by}${said}`)
  }

  async function follow(location: string, from: URL, redirects: number): Promise<CheckFinding> {
    if (redirects >= maxRedirects) return wrong(`more than ${maxRedirects} redirects`)
    if (!URL.canParse(location, from.href)) return wrong('a redirect to nowhere')
    const next = new URL(location, from)
    if (next.protocol !== 'http:' && next.protocol !== 'https:') return wrong(`a redirect to ${next.protocol}`)
    // Let's Encrypt goes nowhere else; another CA might.
    if (next.port !== '') return unknown(`a redirect to port ${next.port} is not followed from here`)
    const found = await findPlaces(next.hostname.replace(/^\[|\]$/g, ''), next.protocol === 'http:' ? 80 : 443)
    if ('unknown' in found) return unknown(`redirected to ${next.origin}: ${found.unknown}`)
    let finding = unknown('there is no address to ask')
    for (const place of found.places) {
      finding = await lookAt(next, place, redirects + 1)
      if (finding.outcome !== 'unknown') break
    }
    return finding
  }

  const found = await findPlaces(identifier.value, 80)
  if ('unknown' in found) return unknown(found.unknown)
  return combineFindings(
    await Promise.all(found.places.map(async (place) => ({ place, finding: await lookAt(url, place, 0) }))),
  )
}

/** What is wrong with it; the body is not repeated, it is anybody's. */
function describeAnswer(
  { status, server, body }: Extract<HttpAnswer, { status: number }>,
  where: string,
  keyAuthorization: string,
): string | undefined {
  const name = oneLine(server ?? '').slice(0, maxServerLength)
  const from = name === '' ? where : `${name} at ${where}`
  if (status !== 200) return `got ${status} from ${from}`
  if (body === undefined) return `got more than a key authorization from ${from}`
  return body.trimEnd() === keyAuthorization ? undefined : `got something else from ${from}`
}
