import type { StoredEntry, StoredRegister } from '../state/certificate-register.ts'
import { stateOf } from './certificate-view.ts'
import { formatNames, formatTable, formatTime } from './table.ts'

const maxCandidates = 20
const shortestPrefix = 4

/**
 * The certificate that a person means: a name, or how its id or serial begins.
 * @param onlyOne also what nobody uses any more counts: what cannot be undone must mean one thing
 * @throws Error when there is none, or more than one; that lists them
 */
export async function chooseCertificate(
  register: StoredRegister,
  text: string,
  nowMs: number,
  onlyOne = false,
): Promise<StoredEntry> {
  const found = await searchCertificates(register, text)
  const current = found.filter((entry) => !['superseded', 'revoked', 'expired'].includes(stateOf(entry, nowMs)))
  const usable = onlyOne ? found.filter(({ revokedAtMs }) => revokedAtMs === undefined) : current
  for (const candidates of [found, usable]) {
    const [first] = candidates
    if (first !== undefined && candidates.length === 1) return first
  }
  if (found.length === 0)
    throw new Error(`no certificate has the id, the serial or the name ${text}; "acmems certs list" shows them`)
  throw new Error(`${text} may be any of these; say its id or serial\n${formatCandidates(found, nowMs)}`)
}

/** By id, serial or name; whatever has become of them. */
export async function searchCertificates(register: StoredRegister, text: string): Promise<StoredEntry[]> {
  const name = text.toLowerCase().replace(/\.$/, '')
  const byName = await register.search({ name }, maxCandidates)
  if (byName.length > 0) return byName
  const hex = text.replace(/^0x/i, '').replaceAll(':', '')
  if (hex.length < shortestPrefix) return []
  const found = await register.search({ hexPrefix: hex }, maxCandidates)
  if (found.length > 0 || !/^0/.test(hex)) return found
  // Some tools write zeros before a serial, some leave them out.
  return await register.search({ hexPrefix: hex.replace(/^0+/, '') }, maxCandidates)
}

function formatCandidates(entries: readonly StoredEntry[], nowMs: number): string {
  return formatTable(
    ['ID', 'SERIAL', 'NAMES', 'BLOCK', 'NOT AFTER', 'STATE'],
    entries.map((entry) => [
      shortId(entry.id),
      entry.serial,
      formatNames(entry.names),
      entry.block,
      formatTime(entry.notAfterMs),
      stateOf(entry, nowMs),
    ]),
  ).trimEnd()
}

/** Enough of an id to say which one is meant. */
export function shortId(id: string): string {
  return id.slice(0, 12)
}
