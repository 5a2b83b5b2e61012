import { oneLine } from '../acme/problem.ts'
import { formatRemark, type Remark } from './remark.ts'

/** A section of ours to be written. */
export type OwnSection = {
  /** `account`, `certificate "web"`. */
  readonly header: string
  /** Where it comes from. */
  readonly origin: string | undefined
  readonly lines: readonly OwnLine[]
  readonly remarks: readonly Remark[]
  /** Why it stands there as a comment only. */
  readonly disabled?: boolean
}

/** `because`: where it comes from, or why it is there. */
export type OwnLine = { readonly key: string; readonly value: string; readonly because: string }

const width = 100

/** Whether our INI can say it: a line is a line, and `${ENV:…}` means something there. */
export function isWritable(value: string): boolean {
  return !/\p{Cc}/u.test(value) && !value.includes('${ENV:') && Buffer.from(value).toString() === value
}

export function formatSections(introduction: readonly string[], sections: readonly OwnSection[]): string {
  return `${[introduction.map(asComment).join('\n'), ...sections.map(formatSection)].join('\n\n')}\n`
}

function formatSection({ header, origin, lines, remarks, disabled = false }: OwnSection): string {
  const head = origin === undefined ? `[${header}]` : `[${header}]  # ${oneLine(origin)}`
  const own = [
    head,
    ...lines.map(({ key, value, because }) => `${`${key} = ${quote(value)}`.trimEnd()}  # ${oneLine(because)}`),
  ]
  return [...remarks.flatMap(wrapRemark), ...own.map((line) => (disabled ? asComment(line) : line))].join('\n')
}

function wrapRemark(remark: Remark): string[] {
  const lines = ['']
  for (const word of formatRemark(remark).split(' ')) {
    const last = lines.at(-1) ?? ''
    if (last !== '' && last.length + word.length > width) lines.push(`  ${word}`)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  return lines.map(asComment)
}

function asComment(line: string): string {
  return line === '' ? '#' : `# ${line}`
}

function quote(value: string): string {
  return value !== '' && /^[^"#;\\\s](?:[^"#;\\]*[^"#;\\\s])?$/.test(value)
    ? value
    : value === ''
      ? ''
      : `"${value.replace(/["\\]/g, '\\$&')}"`
}
