import type { Finding } from './finding.ts'

/** One `key = value`, where it stands. */
export type Entry = { readonly key: string; readonly value: string; readonly origin: string }

/** `[kind]` or `[kind "name"]`. */
export type Section = {
  readonly kind: string
  readonly name: string | undefined
  readonly origin: string
  readonly entries: readonly Entry[]
}

const maxBytes = 1024 * 1024

/**
 * Reads acmems' INI dialect: repeated keys are kept in order; `#` and `;` begin a comment at the start of a line, and
 * after a value when white space stands before them; a value may be quoted and may hold `=`.
 * Never throws: what cannot be read becomes a finding with its line.
 */
export function parseIni(text: string, file: string): { sections: Section[]; findings: Finding[] } {
  const findings: Finding[] = []
  const sections: (Section & { entries: Entry[] })[] = []
  const complain = (line: number, message: string) =>
    findings.push({ severity: 'error', origin: `${file}:${line}`, message })
  if (Buffer.byteLength(text) > maxBytes) {
    complain(1, 'a configuration file of more than 1 MiB')
    return { sections, findings }
  }
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const number = index + 1
    const line = raw.trim()
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue
    if (/[\0-\x08\x0b-\x1f\x7f]/.test(line)) {
      complain(number, 'a control character')
      continue
    }
    if (line.startsWith('[')) {
      const header = /^\[\s*([\w-]+)(?:\s+"([^"\]]*)")?\s*\]\s*(?:[#;].*)?$/.exec(line)
      if (header === null)
        complain(number, `cannot read ${JSON.stringify(line)}; a section is written [kind] or [kind "name"]`)
      sections.push({ kind: header?.[1] ?? '', name: header?.[2], origin: `${file}:${number}`, entries: [] })
      continue
    }
    const entry = parseEntry(line, `${file}:${number}`)
    const section = sections.at(-1)
    if (entry === undefined)
      complain(number, `cannot read ${JSON.stringify(line)}; write key = value, or # in front of a comment`)
    else if (section === undefined) complain(number, `"${entry.key}" (${entry.value}) stands before any [section]`)
    else section.entries.push(entry)
  }
  // A section that could not be read was kept so far only so that its keys do not fall to the one before it.
  return { sections: sections.filter((section) => section.kind !== ''), findings }
}

function parseEntry(line: string, origin: string): Entry | undefined {
  const match = /^([^=\s"]+)\s*=\s*(.*)$/.exec(line)
  if (match === null) return undefined
  const [, key = '', rest = ''] = match
  const quoted = /^"((?:[^"\\]|\\["\\])*)"\s*(?:\s[#;].*)?$/.exec(rest)
  if (quoted !== null) return { key, value: (quoted[1] ?? '').replace(/\\(["\\])/g, '$1'), origin }
  const value = /^[#;]/.test(rest) ? '' : rest.replace(/\s+[#;].*$/, '')
  return { key, value: value.trim(), origin }
}
