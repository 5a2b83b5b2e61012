import { ProblemError } from '../../acme/problem.ts'

/** A zone of the provider's, and the record's name within it. */
export type PlaceInZone<Zone> = { readonly zone: Zone; readonly name: string }

/**
 * Finds the zone of a name by asking for the name itself, then for each of its parents: the longest that exists is it.
 * A name can be a zone of its own where it was delegated.
 * @param find undefined when the provider has no such zone
 * @param fixed the zone that the configuration names: then only this one is asked for
 */
export async function walkToZone<Zone>(
  provider: string,
  fqdn: string,
  fixed: string | undefined,
  find: (candidate: string) => Promise<Zone | undefined>,
): Promise<PlaceInZone<Zone>> {
  const candidates = fixed === undefined ? parentsOf(fqdn) : [fixed]
  for (const candidate of candidates) {
    if (fqdn !== candidate && !fqdn.endsWith(`.${candidate}`)) continue
    const zone = await find(candidate)
    if (zone !== undefined) return { zone, name: fqdn === candidate ? '@' : fqdn.slice(0, -candidate.length - 1) }
  }
  const asked = fixed === undefined ? `asked for ${candidates.join(', ')}` : `the configuration says zone = ${fixed}`
  throw new ProblemError('dns', `${provider} has no zone for ${fqdn} that this token may see; ${asked}`)
}

/** The name and its parents; the last label alone is nobody's zone at a provider. */
function parentsOf(fqdn: string): string[] {
  const labels = fqdn.split('.')
  return labels.slice(0, Math.max(1, labels.length - 1)).map((_, index) => labels.slice(index).join('.'))
}

/** As providers write the value of a TXT record; ours have nothing in them that would need more. */
export function quoteTxt(value: string): string {
  return `"${value}"`
}

/** The value of a TXT record with or without its quotes, several strings joined (RFC 1035 §3.3.14). */
export function unquoteTxt(content: string): string {
  const strings = [...content.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => text.replace(/\\(.)/g, '$1'))
  return strings.length === 0 ? content : strings.join('')
}
