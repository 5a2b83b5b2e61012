import { availableAtMs, type FullAtMs, fullAfterOne, type RateBucket } from '../acme/rate-limit.ts'
import { reserveForUrgent } from '../plugins/issuers/rate-limits.ts'

/** A certificate as the forecast looks at it. */
export type Forecastable = {
  readonly id: string
  readonly dueAtMs: number
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** What a renewal takes of the CA's limits: the first one, and those that follow it. */
  bucketsOf(isFirst: boolean): readonly RateBucket[]
  /** So long before its end a later certificate is renewed. */
  readonly leftMs: number
}

export type ForecastRenewal = {
  readonly id: string
  readonly wantedAtMs: number
  /** When the limits let it happen. */
  readonly atMs: number
  readonly heldUpBy?: Pick<RateBucket, 'limit' | 'subject'>
  /** It is over before its renewal can happen. */
  readonly tooLate: boolean
}

const maxPerCertificate = 1000

/**
 * What will be renewed when, and where a limit will be in the way: those that are wanted first take first. Hosts are
 * taken to go on asking, and the CA to go on saying what it says now.
 * @param fullAtMs what is used of the buckets now, by `bucketKey`; changed on the way
 */
export function forecast(
  certificates: readonly Forecastable[],
  fullAtMs: Map<string, FullAtMs>,
  nowMs: number,
  untilMs: number,
): ForecastRenewal[] {
  const wanted: { certificate: Forecastable; atMs: number; endsAtMs: number; isFirst: boolean }[] = []
  for (const certificate of certificates) {
    const lifetimeMs = certificate.notAfterMs - certificate.notBeforeMs
    // Each follows the one before it: none is wanted earlier because a limit held that one up.
    const everyMs = Math.max(lifetimeMs - certificate.leftMs, 60_000)
    let atMs = Math.max(certificate.dueAtMs, nowMs)
    let endsAtMs = certificate.notAfterMs
    for (let count = 0; atMs <= untilMs && count < maxPerCertificate; count++) {
      wanted.push({ certificate, atMs, endsAtMs, isFirst: count === 0 })
      endsAtMs = atMs + lifetimeMs
      atMs += everyMs
    }
  }
  wanted.sort((left, right) => left.atMs - right.atMs)
  return wanted.map(({ certificate, atMs: wantedAtMs, endsAtMs, isFirst }) => {
    const { atMs, heldUpBy } = takeAll(certificate.bucketsOf(isFirst), fullAtMs, wantedAtMs)
    const isHeldUp = atMs > wantedAtMs && heldUpBy !== undefined
    return { id: certificate.id, wantedAtMs, atMs, ...(isHeldUp ? { heldUpBy } : {}), tooLate: atMs >= endsAtMs }
  })
}

export function bucketKey({ issuerKey, limit, subject }: Pick<RateBucket, 'issuerKey' | 'limit' | 'subject'>): string {
  return `${issuerKey}\0${limit}\0${subject}`
}

function takeAll(buckets: readonly RateBucket[], fullAtMs: Map<string, FullAtMs>, wantedAtMs: number) {
  let atMs = wantedAtMs
  let heldUpBy: RateBucket | undefined
  for (const bucket of buckets) {
    const full = fullAtMs.get(bucketKey(bucket)) ?? 0
    const possibleAtMs = availableAtMs(bucket, full, wantedAtMs, reserveForUrgent)
    if (possibleAtMs <= atMs) continue
    atMs = possibleAtMs
    heldUpBy = bucket
  }
  for (const bucket of buckets) {
    const key = bucketKey(bucket)
    fullAtMs.set(key, fullAfterOne(bucket, fullAtMs.get(key) ?? 0, atMs))
  }
  return { atMs, heldUpBy }
}
