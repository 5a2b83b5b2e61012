import { isInUse, type RegisterEntry } from '../issuance/records.ts'
import { dueAtMs, planRenewal } from '../issuance/renewal-plan.ts'
import type { StoredEntry, StoredRegister } from '../state/certificate-register.ts'
import { isoTime } from './table.ts'

const pageSize = 1000

/** Every entry, the nearest end first; never all at once in memory. */
export async function* allEntries(register: StoredRegister): AsyncGenerator<StoredEntry> {
  let last: StoredEntry | undefined
  do {
    const page: StoredEntry[] = await register.page(last, pageSize)
    yield* page
    last = page.length < pageSize ? undefined : page.at(-1)
  } while (last !== undefined)
}

export type CertificateState = 'in use' | 'not asked for' | 'superseded' | 'revoked' | 'expired' | 'failing'

/** What has become of it, in one word or two. */
export function stateOf(entry: RegisterEntry, nowMs: number): CertificateState {
  if (entry.revokedAtMs !== undefined) return 'revoked'
  if (entry.lastError !== undefined) return 'failing'
  if (entry.notAfterMs <= nowMs) return 'expired'
  if (isInUse(entry)) return 'in use'
  return entry.supersededAtMs !== undefined && entry.askedAtMs <= entry.supersededAtMs ? 'superseded' : 'not asked for'
}

export type NextRenewal = { readonly atMs: number; readonly why: string }

/** When it is renewed, and what says so; undefined: never, unless a host or the operator asks. */
export function nextRenewalOf(entry: StoredEntry): NextRenewal | undefined {
  const { plan } = entry
  const wanted = isInUse(entry) || plan.asked === true
  if (!wanted || entry.wakeAtMs === undefined) return undefined
  const atMs = dueAtMs(plan)
  if (plan.retryAtMs > 0 && atMs === plan.retryAtMs) return { atMs, why: 'again after a failure' }
  if (plan.asked === true) return { atMs: entry.wakeAtMs, why: 'asked for' }
  if (plan.backstopAtMs < (plan.chosenAtMs ?? plan.ownAtMs)) return { atMs, why: 'the latest moment' }
  if (plan.chosenAtMs !== undefined) return { atMs, why: "the CA's window" }
  return { atMs, why: followsLifetime(entry) ? 'lifetime' : 'renew-within' }
}

/** The plan holds the moment only: one that the lifetime would have given was given by it. */
function followsLifetime(entry: RegisterEntry): boolean {
  const latestMs = planRenewal(entry, undefined, 0, 0).ownAtMs
  const earliestMs = planRenewal(entry, undefined, 0, 1).ownAtMs
  return entry.plan.ownAtMs >= earliestMs && entry.plan.ownAtMs <= latestMs
}

/** As JSON: times as text, what is not known is not there. */
export function certificateJson(entry: StoredEntry, nowMs: number) {
  const { plan } = entry
  const next = nextRenewalOf(entry)
  return {
    id: entry.id,
    names: entry.names,
    block: entry.block,
    issuer: entry.issuer,
    issuedBy: entry.issuedBy,
    storage: entry.storage,
    profile: entry.profile,
    serial: entry.serial,
    state: stateOf(entry, nowMs),
    notBefore: isoTime(entry.notBeforeMs),
    notAfter: isoTime(entry.notAfterMs),
    issuedAt: isoTime(entry.issuedAtMs),
    askedAt: isoTime(entry.askedAtMs),
    remoteAddress: entry.remoteAddress,
    supersededAt: isoTime(entry.supersededAtMs),
    revokedAt: isoTime(entry.revokedAtMs),
    nextRenewal: next === undefined ? undefined : { at: isoTime(next.atMs), why: next.why },
    nextLookAt: isoTime(entry.wakeAtMs),
    failures: plan.failures,
    lastError: entry.lastError,
    renewalInfo:
      plan.info === undefined
        ? undefined
        : {
            start: isoTime(plan.info.startMs),
            end: isoTime(plan.info.endMs),
            chosen: isoTime(plan.chosenAtMs),
            explanationUrl: plan.info.explanationUrl,
          },
  }
}
