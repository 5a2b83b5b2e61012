import type { Identifier } from '../acme/identifier.ts'
import type { Served } from './handshake.ts'

/** The certificate that ought to be served. */
export type Expected = {
  readonly names: readonly string[]
  readonly serial: string
  readonly notBeforeMs: number
  /** Of the whole certificate, in hexadecimal; without it the serial has to do. */
  readonly sha256?: string
  /** Serials that are as good: a newer one that a renewal made meanwhile. */
  readonly alsoSerials?: readonly string[]
}

export type Verdict = 'newest' | 'older' | 'other' | 'unreachable'

/** What was seen at one address. */
export type Finding = {
  readonly verdict: Verdict
  readonly address?: string
  readonly serial?: string
  readonly notAfterMs?: number
  /** In words, where it is not the newest. */
  readonly reason?: string
}

/** Is it the one that was issued, an older one of the same names, or another's? */
export function judge({ leaf, sha256 }: Served, expected: Expected): Finding {
  const { serial, notAfterMs } = leaf
  const seen = { serial, notAfterMs }
  const hasNames = sameNames(leaf.identifiers, expected.names)
  if (expected.sha256 === undefined ? serial === expected.serial && hasNames : sha256 === expected.sha256)
    return { verdict: 'newest', ...seen }
  if (hasNames && expected.alsoSerials?.includes(serial) === true) return { verdict: 'newest', ...seen }
  const until = `good until ${new Date(notAfterMs).toISOString()}`
  if (!hasNames) {
    const shown = leaf.identifiers.map(({ value }) => value).slice(0, 3)
    const names = shown.length === 0 ? 'no names' : shown.map((name) => JSON.stringify(name.slice(0, 100))).join(', ')
    return { verdict: 'other', ...seen, reason: `a certificate of other names: ${names}, serial ${serial}` }
  }
  return leaf.notBeforeMs <= expected.notBeforeMs
    ? { verdict: 'older', ...seen, reason: `an older certificate, serial ${serial}, ${until}` }
    : {
        verdict: 'other',
        ...seen,
        reason: `a newer certificate that did not come from here, serial ${serial}, ${until}`,
      }
}

const gravity: readonly Verdict[] = ['newest', 'unreachable', 'older', 'other']

/** What is worst of all addresses; one that does not answer is passed over where another does. */
export function worstOf(findings: readonly Finding[]): Finding {
  const answered = findings.filter(({ verdict }) => verdict !== 'unreachable')
  const [first, ...more] = answered.length > 0 ? answered : findings
  if (first === undefined) return { verdict: 'unreachable', reason: 'it has no address' }
  return more.reduce(
    (worst, one) => (gravity.indexOf(one.verdict) > gravity.indexOf(worst.verdict) ? one : worst),
    first,
  )
}

function sameNames(identifiers: readonly Identifier[], names: readonly string[]): boolean {
  const shown = new Set(identifiers.map(({ value }) => value))
  return shown.size === new Set(names).size && names.every((name) => shown.has(name))
}
