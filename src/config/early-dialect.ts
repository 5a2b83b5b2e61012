import type { Entry, Section } from './ini.ts'

/**
 * The earliest acmems files say `[listeners] http=… mgmt=…`, `[mgmt] mgmt=…` and `[auth] key=AAAAB3…`; today's words
 * for them are `[verification] listener`, `[mgmt] listener` and `public-key`.
 */
export function modernize(sections: readonly Section[]): Section[] {
  const listeners = sections.filter(({ kind }) => kind === 'listeners')
  const rest = sections.filter(({ kind }) => kind !== 'listeners').map(modernizeKeys)
  const moved = (key: string) =>
    listeners.flatMap((section) =>
      section.entries.filter((entry) => entry.key === key).map((entry) => rename(entry, 'listener')),
    )
  const origin = listeners[0]?.origin ?? ''
  const [http, mgmt] = [moved('http'), moved('mgmt')]
  const others = listeners.map((section) => ({
    ...section,
    entries: section.entries.filter(({ key }) => key !== 'http' && key !== 'mgmt'),
  }))
  const added: Section[] = [...others.filter((section) => section.entries.length > 0)]
  const result = mgmt.length === 0 ? rest : addTo(rest, { kind: 'mgmt', name: undefined, origin, entries: mgmt })
  if (http.length === 0) return [...result, ...added]
  const type: Entry = { key: 'type', value: 'http01', origin }
  return [...addTo(result, { kind: 'verification', name: 'http', origin, entries: [type, ...http] }), ...added]
}

function addTo(sections: readonly Section[], extra: Section): Section[] {
  const same = sections.find((section) => section.kind === extra.kind && section.name === extra.name)
  if (same === undefined) return [...sections, extra]
  return sections.map((section) =>
    section === same ? { ...section, entries: [...section.entries, ...extra.entries] } : section,
  )
}

function modernizeKeys(section: Section): Section {
  if (section.kind === 'mgmt')
    return {
      ...section,
      entries: section.entries.map((entry) => (entry.key === 'mgmt' ? rename(entry, 'listener') : entry)),
    }
  if (section.kind === 'auth') {
    return {
      ...section,
      entries: section.entries.map((entry) =>
        entry.key === 'key' && entry.value.startsWith('AAAA') ? rename(entry, 'public-key') : entry,
      ),
    }
  }
  return section
}

function rename(entry: Entry, key: string): Entry {
  return { ...entry, key }
}
