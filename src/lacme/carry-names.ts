import { identifierKey, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import { parseSubject, type Subject } from '../x509/subject.ts'
import type { LacmeCertificate } from './lacme-setup.ts'
import { reasonOf } from './lacme-setup.ts'
import { isWritable, type OwnLine } from './own-text.ts'
import { type Remark, remark } from './remark.ts'

/**
 * `subject` and `subjectAltName`: every name becomes `domain` or `ip-address`, the common name too where it is one; the
 * rest of the subject stays. lacme orders by these two texts together, and can prove names over HTTP only.
 */
export function carryNames(
  { name, origin, values }: LacmeCertificate,
  to: { lines: OwnLine[]; remarks: Remark[] },
): void {
  const seen = new Set<string>()
  const [subject, alternative] = [values.get('subject'), values.get('subjectAltName')]
  const leave = (from: string, at: string | undefined, instead: string) =>
    to.remarks.push(remark('left out', at ?? origin, `[${name}] ${from}`, instead))
  const add = (key: 'domain' | 'ip-address', text: string, at: string): string | undefined => {
    const identifier = key === 'domain' ? parseDnsName(text) : parseIpAddress(text)
    if (identifier.value.startsWith('*.'))
      return 'a wildcard is proven by DNS only: see docs/verification.md, and give it a section and a verification of its own'
    if (!seen.has(identifierKey(identifier))) to.lines.push({ key, value: identifier.value, because: at })
    seen.add(identifierKey(identifier))
    return undefined
  }
  let read: Subject = []
  try {
    read = parseSubject(subject?.text ?? '')
  } catch (error) {
    leave(`subject = ${subject?.text}`, subject?.origin, reasonOf(error))
  }
  const rest: Subject[number][] = []
  let commonName: string | undefined
  for (const relative of read) {
    const kept = relative.filter(({ type, value }) => {
      if (type !== 'CN' && type !== '2.5.4.3') return true
      const problem = attempt(() => add('domain', value, subject?.origin ?? origin))
      if (problem === undefined && commonName === undefined) {
        commonName = value
        return true
      }
      if (problem !== undefined)
        leave(`CN=${value} in the subject`, subject?.origin, `it cannot be a name of the certificate: ${problem}`)
      return false
    })
    if (kept.length > 0) rest.push(kept)
  }
  for (const item of (alternative?.text ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean)) {
    const [, type = '', value = ''] = /^(\w+):(.*)$/.exec(item) ?? []
    const key = { DNS: 'domain', IP: 'ip-address' }[type] as 'domain' | 'ip-address' | undefined
    const problem =
      key === undefined ? 'only DNS and IP can be had' : attempt(() => add(key, value, alternative?.origin ?? origin))
    if (problem !== undefined) leave(`${item} in subjectAltName`, alternative?.origin, problem)
  }
  const text = formatSubject(rest)
  if (rest.length === 0) return
  if (isWritable(text)) to.lines.push({ key: 'subject', value: text, because: subject?.origin ?? origin })
  else leave(`subject = ${subject?.text}`, subject?.origin, 'a line of our configuration cannot say it')
}

function formatSubject(subject: Subject): string {
  return subject
    .map((relative) => `/${relative.map(({ type, value }) => `${type}=${value.replace(/[\\/+]/g, '\\$&')}`).join('+')}`)
    .join('')
}

/** @returns what is wrong */
function attempt(act: () => string | undefined): string | undefined {
  try {
    return act()
  } catch (error) {
    return reasonOf(error)
  }
}
