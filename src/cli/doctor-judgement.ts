import { type CaaQuestion, judgeCaa } from '../acme/caa.ts'
import { isPublicAddress } from '../self-check/public-address.ts'
import type { CaaView, NameView } from './doctor-dns.ts'
import type { DoctorFinding } from './doctor-finding.ts'

/** What the views of a name mean for an order. Pure: what was seen comes in, what it means goes out. */

export type ViewQuestion = {
  readonly seen: NameView
  /** Does the CA come to the name's addresses, or is it told by DNS alone? */
  readonly isVisited: boolean
  /** A CA of one's own gets to addresses that are not public. */
  readonly isOwnCa: boolean
  /** Is it an address of this machine? */
  isOwn(address: string): boolean
  /** A resolver was named that answers as the public DNS does. */
  readonly isNamed: boolean
}

const askPublic = 'name a resolver that answers as the public DNS does: --resolver 9.9.9.9'

/** What the CA sees. */
export function judgePublicView({ seen, isVisited, isOwnCa, isOwn, isNamed }: ViewQuestion): DoctorFinding {
  const topic = 'public DNS'
  const found = (verdict: DoctorFinding['verdict'], says: string, advice?: string): DoctorFinding => ({
    topic,
    verdict,
    says: `${seen.from}: ${says}`,
    ...(advice === undefined ? {} : { advice }),
  })
  if (seen.outcome === 'unknown') return { topic, verdict: 'unclear', says: seen.reason, advice: askPublic }
  if (seen.outcome === 'bogus')
    return found(
      'fails',
      'the DNSSEC signatures are not good: CAs refuse such names',
      'sign the zone anew, or take its DS record away from the parent',
    )
  const signed = seen.authentic ? '; DNSSEC: good' : '; DNSSEC: not signed, or not looked at by this resolver'
  const way = seen.way.map((name) => `CNAME ${name}, `).join('')
  if (seen.outcome === 'nothing') {
    if (!isVisited) return found('note', `${way}${seen.reason}, which a proof by DNS does not need${signed}`)
    const advice = isNamed
      ? 'publish an A (or AAAA) record in the public DNS that leads to acmems, or prove the name by DNS'
      : `publish an A (or AAAA) record that leads to acmems; or, where the public DNS has one, ${askPublic}`
    return found('fails', `${way}${seen.reason}: the CA finds nobody to ask`, advice)
  }
  const addresses = seen.addresses.map((one) => (isOwn(one) ? `${one} (this machine)` : one)).join(', ')
  const inside = seen.addresses.filter((address) => !isPublicAddress(address))
  if (isVisited && !isOwnCa && inside.length === seen.addresses.length)
    return found(
      isNamed ? 'fails' : 'unclear',
      `${way}${addresses}: not public, no CA on the Internet gets there`,
      isNamed
        ? 'publish the public address of acmems for the name, or prove it by DNS (docs/private-hosts.md)'
        : askPublic,
    )
  return found('good', `${way}${addresses}${signed}`)
}

/** What this network sees, beside it. */
export function judgePrivateView(inside: NameView, outside: NameView, isVisited: boolean): DoctorFinding {
  const topic = 'private DNS'
  const note = (says: string): DoctorFinding => ({ topic, verdict: 'note', says: `${inside.from}: ${says}` })
  if (inside.outcome === 'unknown') return { topic, verdict: 'note', says: inside.reason }
  if (inside.addresses.length === 0) return note(`${inside.reason}; only the CA's view counts`)
  const same =
    inside.addresses.length === outside.addresses.length &&
    inside.addresses.every((address) => outside.addresses.includes(address))
  const addresses = inside.addresses.join(', ')
  if (same) return { topic, verdict: 'good', says: `${inside.from}: ${addresses}, the same` }
  const comes =
    isVisited && outside.addresses.length > 0 ? `: the CA comes to ${outside.addresses.join(', ')} instead` : ''
  return note(`${addresses}, where the host is${comes}`)
}

export function judgeCaaView(seen: CaaView, question: CaaQuestion): DoctorFinding {
  const topic = 'CAA'
  if (!('records' in seen))
    return seen.definite
      ? {
          ...{ topic, verdict: 'fails', says: `${seen.reason}; a CA that cannot look CAA up must not issue` },
          advice: "repair the zone's name servers: they must answer for CAA records, too",
        }
      : { topic, verdict: 'unclear', says: seen.reason }
  const { at, records } = seen
  if (records.length === 0)
    return { topic, verdict: 'good', says: 'there is no CAA record: any CA may issue (acmems dns-records shows one)' }
  const verdict = judgeCaa(records, question)
  if (verdict.allowed) return { topic, verdict: 'good', says: `what ${at} has allows it` }
  const isForAll = records.every(({ value }) => value.split(';')[0]?.trim() === '')
  if (question.identities.length === 0 && !isForAll)
    return { topic, verdict: 'unclear', says: `${at} has some, and the CA does not say its name: ${verdict.reason}` }
  return {
    ...{ topic, verdict: 'fails', says: `what ${at} has forbids it: ${verdict.reason}` },
    advice: `add what "acmems dns-records" shows to the CAA records of ${at}`,
  }
}
