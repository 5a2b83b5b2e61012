import { type Remark, remark } from './remark.ts'

/** What a key says, and where it stands. */
export type Value = { readonly text: string; readonly origin: string }
export type Values = ReadonlyMap<string, Value>

/** One file as lacme's reader (Perl's Config::Tiny) understands it; keys before the first section are its defaults. */
export type LacmeFile = {
  readonly defaults: Values
  readonly sections: ReadonlyMap<string, { readonly origin: string; readonly values: Values }>
}

const maxLength = 1024 * 1024

/**
 * Reads a file by the rules of Config::Tiny: comments are whole lines, or begin with ` ; ` behind a value; the last of
 * several values counts; a section that stands twice is one. lacme dies of a line that it cannot read; here the others
 * count, and the line is named.
 */
export function parseLacmeFile(text: string, file: string): { content: LacmeFile; remarks: Remark[] } {
  const remarks: Remark[] = []
  const defaults = new Map<string, Value>()
  const sections = new Map<string, { origin: string; values: Map<string, Value> }>()
  let current = defaults
  if (text.length > maxLength) return { content: { defaults, sections }, remarks: [tooLong(file)] }
  for (const [index, raw] of text.split(/\r{1,2}\n|\r|\n/).entries()) {
    const origin = `${file}:${index + 1}`
    if (/^\s*(?:#|;|$)/.test(raw)) continue
    const line = raw.replace(/\s;\s.+$/, '')
    const name = /^\s*\[\s*(.+?)\s*\]\s*$/.exec(line)?.[1]
    const [, key, value = ''] = /^\s*([^=]+?)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (name !== undefined) {
      const section = sections.get(name) ?? { origin, values: new Map<string, Value>() }
      sections.set(name, section)
      current = section.values
    } else if (key === undefined) {
      remarks.push(remark('left out', origin, `the line ${JSON.stringify(line.trim())}`, 'lacme cannot read it either'))
    } else {
      const former = current.get(key)
      if (former !== undefined)
        remarks.push(remark('note', origin, `${key} stands already at ${former.origin}`, 'the last one counts'))
      current.set(key, { text: value, origin })
    }
    if (line !== raw)
      remarks.push(
        remark(
          'note',
          origin,
          `what stands behind ";" in ${JSON.stringify(raw.trim())}`,
          'to lacme it is a comment; it was never used',
        ),
      )
  }
  return { content: { defaults, sections }, remarks }
}

function tooLong(file: string): Remark {
  return remark('left out', `${file}:1`, 'the whole file', 'it has more than 1 MiB')
}
