import type { PickUp, Sighting } from '../state/deployments.ts'
import { shortId } from './certificate-choice.ts'
import { formatTime, isoTime } from './table.ts'

const gravity = ['newest', 'unreachable', 'older', 'other']
const maxPickUps = 10

/** In a word: is this certificate what is served? What was picked up before it counts as older. */
export function describeServed(sightings: readonly Sighting[], serial: string): string {
  const judged = sightings.map((sighting) => ({ ...sighting, verdict: verdictFor(sighting, serial) }))
  const [worst] = judged.sort((left, right) => gravity.indexOf(right.verdict) - gravity.indexOf(left.verdict))
  if (worst === undefined) return '-'
  if (worst.verdict === 'newest') return 'yes'
  return worst.servedSerial === undefined ? worst.verdict : `${worst.verdict}: ${shortId(worst.servedSerial)}`
}

function verdictFor({ verdict, servedSerial }: Sighting, serial: string): string {
  return verdict === 'newest' && servedSerial !== serial ? 'older' : verdict
}

export function servedJson(sightings: readonly Sighting[]) {
  return sightings.map(({ place, verdict, servedSerial, servedUntilMs, reason, sinceMs, seenAtMs }) => ({
    place,
    verdict,
    servedSerial,
    servedUntil: isoTime(servedUntilMs),
    reason,
    since: isoTime(sinceMs),
    seenAt: isoTime(seenAtMs),
  }))
}

export function pickUpsJson(pickUps: readonly PickUp[]) {
  return pickUps.map(({ client, serial, atMs }) => ({ client, serial, at: isoTime(atMs) }))
}

/** Lines for people: a place each, then who picked it up. */
export function servedFacts(
  sightings: readonly Sighting[],
  pickUps: readonly PickUp[],
  serial: string,
): [string, string][] {
  const places = sightings.map(({ place, reason, servedSerial, sinceMs }): [string, string] => {
    const seen = reason ?? (servedSerial === serial ? 'yes' : `serial ${servedSerial}, which was picked up`)
    return ['served', `${place}: ${seen}, since ${formatTime(sinceMs)}`]
  })
  const shown = pickUps.slice(0, maxPickUps).map((pickUp): [string, string] => {
    const which = pickUp.serial === serial ? '' : `, serial ${pickUp.serial}`
    return ['picked up', `${formatTime(pickUp.atMs)} by ${pickUp.client}${which}`]
  })
  const more = pickUps.length - maxPickUps
  return [...places, ...shown, ...(more > 0 ? [['picked up', `and ${more} times more`] as [string, string]] : [])]
}
