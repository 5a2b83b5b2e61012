import { type Identifier, isWildcard } from '../acme/identifier.ts'

/** One `domain =` value: a glob whose `*` and `?` stay within a label; `**` stands for one or more labels. */
export type NamePattern = { readonly text: string; matches(name: string): boolean }

/**
 * acmems matched with fnmatch, whose `*` crosses dots; ours refuses there. `[abc]` stays a choice of characters.
 * @throws Error with a sentence for the operator
 */
export function parseNamePattern(text: string): NamePattern {
  const pattern = text.toLowerCase()
  if (pattern === '' || /\s/.test(pattern)) throw new Error('a domain pattern cannot be empty or contain white space')
  if (pattern.endsWith('.')) throw new Error(`write ${text.slice(0, -1)} without the dot at its end`)
  const labels = pattern.split('.')
  if (labels.some((label) => label === '')) throw new Error('a domain pattern cannot have an empty label')
  const sources = labels.map((label) => (label === '**' ? '[^.]+(?:\\.[^.]+)*' : labelSource(label)))
  const expression = new RegExp(`^${sources.join('\\.')}$`)
  return { text, matches: (name) => expression.test(name) }
}

function labelSource(label: string): string {
  if (label.includes('**')) throw new Error('"**" stands only as a whole label')
  if ((label.match(/\*/g) ?? []).length > 3) throw new Error('at most three "*" in one label')
  const withoutChoices = label.replace(/\[!?[a-z0-9-]+\]/g, 'x')
  if (!/^[a-z0-9*?-]+$/.test(withoutChoices)) {
    throw new Error(
      `${JSON.stringify(label)} is no label: letters, digits, hyphens, "*", "?" and [abc] are known (other scripts as xn-- labels)`,
    )
  }
  return label.replace(/\[!?[a-z0-9-]+\]|[*?]/g, (glob) => {
    if (glob === '*') return '[^.]*'
    if (glob === '?') return '[^.]'
    return `[${glob.slice(1, -1).replace(/^!/, '^.')}]`
  })
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
