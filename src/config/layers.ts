import type { Finding } from './finding.ts'
import type { Entry, Section } from './ini.ts'

/** Where two sections are the same one. */
export function sectionKey(section: Pick<Section, 'kind' | 'name'>): string {
  return section.name === undefined ? section.kind : `${section.kind} "${section.name}"`
}

/** A section given twice in one file is a slip: acmems forgot the first one without a word. */
export function findRepeatedSections(sections: readonly Section[]): Finding[] {
  const seen = new Map<string, Section>()
  return sections.flatMap((section): Finding[] => {
    const first = seen.get(sectionKey(section))
    if (first === undefined) {
      seen.set(sectionKey(section), section)
      return []
    }
    return [
      {
        severity: 'error',
        origin: section.origin,
        message: `[${sectionKey(section)}] stands already at ${first.origin}; put its keys together`,
      },
    ]
  })
}

/** Lays one layer over another: sections are added, a key that the upper layer names replaces all of its values below. */
export function overlay(lower: readonly Section[], upper: readonly Section[]): Section[] {
  const merged = new Map(lower.map((section) => [sectionKey(section), section]))
  for (const section of upper) {
    const below = merged.get(sectionKey(section))
    const named = new Set(section.entries.map((entry) => entry.key))
    const kept = below?.entries.filter((entry) => !named.has(entry.key)) ?? []
    merged.set(sectionKey(section), {
      ...section,
      origin: below?.origin ?? section.origin,
      entries: [...kept, ...section.entries],
    })
  }
  return [...merged.values()]
}

/**
 * `ACMEMS_MGMT_MAX_SIZE=4k`, `ACMEMS_AUTH__MAIL__DOMAIN="a.example b.example"`: the kind, the name between double
 * underscores, the key; letters that a variable cannot have are written `_`. A list's values stand in a row.
 * @param known section kinds with their keys, to find out what an underscore stands for
 */
export function environmentLayer(
  environment: Readonly<Record<string, string | undefined>>,
  files: readonly Section[],
  known: ReadonlyMap<string, ReadonlyMap<string, { readonly list: boolean }>>,
): { sections: Section[]; findings: Finding[] } {
  const sections: Section[] = []
  const findings: Finding[] = []
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith('ACMEMS_') || value === undefined) continue
    const origin = `environment ${variable}`
    const target = environmentTarget(variable.slice('ACMEMS_'.length), files, known)
    if (target === undefined) {
      findings.push({
        severity: 'error',
        origin,
        message: 'no section and key have this name (ACMEMS_MGMT_LISTENER, ACMEMS_AUTH__NAME__DOMAIN …)',
      })
      continue
    }
    const { kind, name, key, list } = target
    const values = list ? value.split(/\s+/).filter(Boolean) : [value]
    const entries = (values.length === 0 ? [''] : values).map((one): Entry => ({ key, value: one, origin }))
    sections.push({ kind, name, origin, entries })
  }
  return { sections: sections.reduce<Section[]>((merged, section) => overlay(merged, [section]), []), findings }
}

function environmentTarget(
  rest: string,
  files: readonly Section[],
  known: ReadonlyMap<string, ReadonlyMap<string, { readonly list: boolean }>>,
) {
  const named = /^([A-Z0-9]+)__(.+)__([A-Z0-9_]+)$/.exec(rest)
  const [, kindOfNamed, nameText, keyOfNamed] = named ?? []
  const kind = [...known.keys()].find((candidate) =>
    named === null ? rest.startsWith(`${toVariable(candidate)}_`) : toVariable(candidate) === kindOfNamed,
  )
  const keyText = keyOfNamed ?? rest.slice(toVariable(kind ?? '').length + 1)
  const key = [...(known.get(kind ?? '') ?? [])].find(([candidate]) => toVariable(candidate) === keyText)
  if (kind === undefined || key === undefined) return undefined
  const existing = files.find(
    (section) => section.kind === kind && section.name !== undefined && toVariable(section.name) === nameText,
  )
  const name = nameText === undefined ? undefined : (existing?.name ?? nameText.toLowerCase())
  return { kind, name, key: key[0], list: key[1].list }
}

function toVariable(text: string): string {
  return text.toUpperCase().replace(/[^A-Z0-9]/g, '_')
}

/** `--set mgmt.max-size=4k`, `--set 'auth."mail".domain=a.example'`; repeated for a list. */
export function flagLayer(assignments: readonly string[]): { sections: Section[]; findings: Finding[] } {
  const sections: (Section & { entries: Entry[] })[] = []
  const findings: Finding[] = []
  for (const assignment of assignments) {
    const origin = `--set ${assignment.split('=')[0]}`
    const match = /^([\w-]+)\.(?:(?:"([^"]+)"|([\w-]+))\.)?([\w-]+)=(.*)$/s.exec(assignment)
    if (match === null) {
      findings.push({
        severity: 'error',
        origin,
        message: 'cannot be read; write section.key=value or section."name".key=value',
      })
      continue
    }
    const [, kind = '', quotedName, plainName, key = '', value = ''] = match
    const name = quotedName ?? plainName
    const same = sections.find((section) => section.kind === kind && section.name === name)
    const entry = { key, value, origin }
    if (same === undefined) sections.push({ kind, name, origin, entries: [entry] })
    else same.entries.push(entry)
  }
  return { sections, findings }
}
