import { type Identifier, isWildcard } from '../acme/identifier.ts'

/** One `domain =` value: a glob whose `*` and `?` stay within a label; `**` stands for one or more labels. */
export type NamePattern = { readonly text: string; matches(name: string): boolean }

/** A label of a pattern: exactly this one, any one, any number of any (`**`), or a glob. */
type LabelPattern = string | '*' | '**' | readonly Glyph[]

/** One character of a label's glob: any number, any one, or one of a set. */
type Glyph = { readonly many: true } | { readonly many: false; accepts(character: string): boolean }

const maxPatternLength = 253

/**
 * acmems matched with fnmatch, whose `*` crosses dots; ours refuses there. `[abc]` stays a choice of characters.
 * No regular expression is made of it: matching takes a time that the lengths bound, whatever an operator writes.
 * @throws Error with a sentence for the operator
 */
export function parseNamePattern(text: string): NamePattern {
  if (text === '' || /[^\x21-\x7e]/.test(text))
    throw new Error('a domain pattern is not empty and has no blanks; write other scripts as xn-- labels')
  if (text.length > maxPatternLength) throw new Error(`a domain pattern has at most ${maxPatternLength} characters`)
  if (text.endsWith('.')) throw new Error(`write ${text.slice(0, -1)} without the dot at its end`)
  const labels = text.toLowerCase().split('.').map(parseLabel)
  return { text, matches: (name) => matchLabels(labels, name.split('.')) }
}

function parseLabel(label: string): LabelPattern {
  if (label === '') throw new Error('a domain pattern cannot have an empty label')
  // What nearly every pattern consists of is compared without walking along it.
  if (label === '*' || label === '**' || /^[a-z0-9-]+$/.test(label)) return label
  if (label.includes('**')) throw new Error('"**" stands only as a whole label')
  const parts = label.match(/\[!?[^\]]*\]|[^[\]]/g) ?? []
  if (parts.join('') !== label) throw new Error(`${JSON.stringify(label)} has a bracket without its partner`)
  return parts.map((part) => {
    if (part === '*') return { many: true }
    if (part === '?') return { many: false, accepts: () => true }
    if (part.startsWith('[')) return { many: false, accepts: parseChoice(part) }
    if (!/[a-z0-9-]/.test(part)) {
      throw new Error(`${JSON.stringify(label)} is no label: letters, digits, hyphens, "*", "?" and [abc] are known`)
    }
    return { many: false, accepts: (character) => character === part }
  })
}

/** `[abc]`, `[a-z]`, `[!abc]`, as fnmatch has them. */
function parseChoice(part: string): (character: string) => boolean {
  const negated = part.startsWith('[!')
  const body = part.slice(negated ? 2 : 1, -1)
  if (!/^[a-z0-9-]+$/.test(body)) throw new Error(`${part} is no choice of letters, digits and hyphens`)
  const ranges = (body.match(/[a-z0-9-]-[a-z0-9-]|[a-z0-9-]/g) ?? []).map(
    (range) => [range[0] ?? '', range.at(-1) ?? ''] as const,
  )
  if (ranges.some(([from, to]) => from > to)) throw new Error(`${part} has a range that ends before it begins`)
  return (character) => ranges.some(([from, to]) => from <= character && character <= to) !== negated
}

function matchLabels(pattern: readonly LabelPattern[], labels: readonly string[]): boolean {
  if (!pattern.includes('**'))
    return pattern.length === labels.length && labels.every((label, index) => matchLabel(pattern[index] ?? '', label))
  // reached[i]: the pattern so far can end before label i.
  let reached = labels.map(() => false).concat(false)
  reached[0] = true
  for (const part of pattern) {
    const next = reached.map(() => false)
    for (const [index, label] of labels.entries()) {
      if (part === '**') next[index + 1] = label !== '' && (reached[index] === true || next[index] === true)
      else next[index + 1] = reached[index] === true && matchLabel(part, label)
    }
    reached = next
  }
  return reached[labels.length] === true
}

function matchLabel(glyphs: LabelPattern, label: string): boolean {
  if (typeof glyphs === 'string') return glyphs === '*' || glyphs === label
  const characters = [...label]
  let reached = characters.map(() => false).concat(false)
  reached[0] = true
  for (const glyph of glyphs) {
    const next = reached.map((was) => glyph.many && was)
    for (const [index, character] of characters.entries()) {
      if (glyph.many) next[index + 1] = next[index + 1] === true || next[index] === true
      else next[index + 1] = reached[index] === true && glyph.accepts(character)
    }
    reached = next
  }
  return reached[characters.length] === true
}

/**
 * Is the name covered? A wildcard name needs `wildcard = yes` and a pattern that itself begins with a wildcard label:
 * a grant for single names is never one for all of them.
 */
export function coversName(
  patterns: readonly NamePattern[],
  wildcardAllowed: boolean,
  identifier: Identifier,
): boolean {
  if (!isWildcard(identifier)) return patterns.some((pattern) => pattern.matches(identifier.value))
  if (!wildcardAllowed) return false
  return patterns.some((pattern) => /^\*\*?\./.test(pattern.text) && pattern.matches(identifier.value))
}
