// Pages in roff, with the macros of man(7): what mandoc and groff both read.

/** Text as it must stand in roff so that it is printed as it is; every line of it a line. */
export function roff(text: string): string {
  return text
    .split('\n')
    .map((line) => guardLine(escapeCharacters(line)))
    .join('\n')
}

/** `bold` and `italic` within a line. */
export const bold = (text: string): string => `\\fB${escapeCharacters(text)}\\fR`
export const italic = (text: string): string => `\\fI${escapeCharacters(text)}\\fR`

const named: Readonly<Record<string, string>> = {
  '\\': '\\e',
  // A minus that can be copied, instead of a hyphen; the others would become typographic signs, too.
  '-': '\\-',
  "'": '\\(aq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
}

function escapeCharacters(text: string): string {
  return text
    .replace(/[\\\-'`^~]/g, (character) => named[character] ?? character)
    .replace(
      /[^\t\n\x20-\x7e]/gu,
      (character) => `\\[u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
}

/** A full stop or an apostrophe at the beginning would make a request of the line. */
function guardLine(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line
}

function argument(text: string): string {
  return `"${escapeCharacters(text).replaceAll('"', '\\(dq')}"`
}

export type Heading = {
  readonly name: string
  readonly section: 1 | 5 | 8
  readonly summary: string
  /** Where it is known; a page without one says none. */
  readonly date: string
  readonly source: string
}

const manuals = { 1: 'User Commands', 5: 'File Formats', 8: 'System Administration' } as const

export function pageHead({ name, section, summary, date, source }: Heading): string {
  const title = `.TH ${argument(name)} ${section} ${argument(date)} ${argument(source)} ${argument(manuals[section])}`
  // Nobody hyphenates a command.
  return `.\\" Made from the program itself: node scripts/manuals.ts\n${title}\n.nh\n.ad l\n${heading('NAME')}${roff(name)} \\- ${roff(summary)}\n`
}

export const heading = (title: string): string => `.SH ${argument(title)}\n`
export const subheading = (title: string): string => `.SS ${argument(title)}\n`

/** Paragraphs are separated by empty lines; the breaks within one are not kept. */
export function paragraphs(text: string): string {
  return text
    .trim()
    .split(/\n{2,}/)
    .map((paragraph) => `.PP\n${roff(paragraph.replace(/\n\s*/g, '\n'))}\n`)
    .join('')
}

/** @param term in roff already */
export function item(term: string, meaning: string): string {
  return `.TP\n${guardLine(term)}\n${meaning === '' ? '\\&' : roff(meaning.replace(/\s*\n\s*/g, '\n'))}\n`
}

/** Lines as they are. */
export function verbatim(text: string): string {
  return `.PP\n.EX\n${roff(text.replace(/\n+$/, ''))}\n.EE\n`
}
