import type { CaaRecord as NodeCaaRecord } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { type CaaQuestion, type CaaRecord, judgeCaa } from '../acme/caa.ts'
import { oneLine } from '../acme/problem.ts'
import { errorCode } from '../error-code.ts'
import type { WantedRecord } from './wanted-records.ts'

/** What is there now. `ok: undefined`: it could not be looked up. */
export type Published = { readonly ok: boolean | undefined; readonly finding: string }

export type LookAt = (record: WantedRecord, question: CaaQuestion) => Promise<Published>

const timeoutMs = 3000
const tries = 2

/** @param server `address:port`; the system's resolver without it */
export function createLookAt(server: string | undefined): LookAt {
  const resolver = new Resolver({ timeout: timeoutMs, tries })
  if (server !== undefined) resolver.setServers([server])

  async function findCaa(name: string): Promise<{ readonly at: string; readonly records: readonly CaaRecord[] }> {
    // RFC 8659 §3: the name's own set, or that of the nearest name above it.
    for (let at = name; at.includes('.'); at = at.slice(at.indexOf('.') + 1)) {
      const records = (await orNothing(resolver.resolveCaa(at))).flatMap(readCaa)
      if (records.length > 0) return { at, records }
    }
    return { at: name, records: [] }
  }

  async function lookAt(record: WantedRecord, question: CaaQuestion): Promise<Published> {
    if (record.type === 'CNAME') {
      const found = (await orNothing(resolver.resolveCname(record.name))).map((name) => name.toLowerCase())
      if (found.includes(record.value)) return { ok: true, finding: 'is there' }
      return { ok: false, finding: found.length === 0 ? 'is missing' : `points at ${found.join(', ')}` }
    }
    if (record.type === 'TXT') {
      const found = (await orNothing(resolver.resolveTxt(record.name))).map((strings) => strings.join(''))
      if (found.includes(record.value)) return { ok: true, finding: 'is there' }
      return { ok: false, finding: found.length === 0 ? 'is missing' : `says ${found.join(' | ')}` }
    }
    const { at, records } = await findCaa(record.name)
    if (records.length === 0) return { ok: true, finding: 'there is none: any CA may issue' }
    const verdict = judgeCaa(records, question)
    return verdict.allowed
      ? { ok: true, finding: `what ${at} has allows it` }
      : { ok: false, finding: `what ${at} has forbids it: ${verdict.reason}` }
  }

  return async (record, question) => {
    try {
      const { ok, finding } = await lookAt(record, question)
      return { ok, finding: oneLine(finding) }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'failed'
      return { ok: undefined, finding: `could not be looked up (${code})` }
    }
  }
}

/** No such name, or none of this type, is an answer. */
async function orNothing<T>(answer: Promise<T[]>): Promise<T[]> {
  try {
    return await answer
  } catch (error) {
    if (['ENODATA', 'ENOTFOUND'].includes(errorCode(error) ?? '')) return []
    throw error
  }
}

/** Node puts the property under its tag. */
function readCaa({ critical, ...properties }: NodeCaaRecord): CaaRecord[] {
  return Object.entries(properties)
    .filter(([tag]) => tag !== 'type')
    .map(([tag, value]) => ({ critical: (critical & 128) !== 0, tag, value: String(value) }))
}
