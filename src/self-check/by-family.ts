import { isIPv6 } from 'node:net'
import type { CheckFinding } from '../plugin-api.ts'
import type { Place } from './places.ts'

export type PlaceFinding = { readonly place: Place; readonly finding: CheckFinding }

/**
 * What all places together say. A validator asks IPv6 first where there is an address, and falls back to IPv4 only when
 * it gets no connection: so a wrong answer by IPv4 is a definite one only where IPv6 does not exist.
 */
export function combineFindings(findings: readonly PlaceFinding[]): CheckFinding {
  const of = (family: boolean) => findings.filter(({ place }) => isIPv6(place.address) === family)
  const [v6, v4] = [of(true), of(false)]
  const wrongIn = (list: readonly PlaceFinding[]) => list.find(({ finding }) => finding.outcome === 'wrong')?.finding
  const isSeenIn = (list: readonly PlaceFinding[]) => list.some(({ finding }) => finding.outcome === 'visible')
  const wrong = wrongIn(v6) ?? (v6.length === 0 ? wrongIn(v4) : undefined)
  if (wrong !== undefined) return wrong
  if (isSeenIn(v6) || (isSeenIn(v4) && wrongIn(v4) === undefined)) return { outcome: 'visible' }
  const [first] = [...(v4.length > 0 ? v4 : v6)]
  if (first === undefined) return { outcome: 'unknown', reason: 'there is no address to ask' }
  const { finding } = first
  return finding.outcome === 'wrong'
    ? { outcome: 'unknown', reason: `${finding.reason}, but the CA asks by IPv6 first, and that cannot be asked here` }
    : finding
}

export function describePlace({ address, port }: Place): string {
  return `${isIPv6(address) ? `[${address}]` : address}:${port}`
}
