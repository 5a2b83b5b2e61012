import { oneLine } from '../acme/problem.ts'

const gap = '  '

/** Columns side by side, for people; the last one is as long as it likes. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => row.map(oneLine))
  const widths = head.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)))
  const text = lines.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(gap)
      .trimEnd(),
  )
  return `${text.join('\n')}\n`
}

/** What is known of one thing, a line each; what is undefined is left out. */
export function formatFacts(facts: readonly (readonly [string, string | undefined])[]): string {
  const known = facts.filter((fact): fact is [string, string] => fact[1] !== undefined)
  const width = Math.max(...known.map(([name]) => name.length))
  return `${known.map(([name, value]) => `${name.padEnd(width)}${gap}${oneLine(value)}`.trimEnd()).join('\n')}\n`
}

/** The first names, and how many more there are. */
export function formatNames(names: readonly string[], width = 40): string {
  let text = names[0] ?? ''
  for (const [index, name] of names.entries()) {
    if (index === 0) continue
    if (text.length + name.length + 1 > width) return `${text} +${names.length - index}`
    text = `${text} ${name}`
  }
  return text
}

/** Minutes are enough for people; in UTC, like the log. */
export function formatTime(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 16).replace('T', ' ')}Z`
}

export function formatSecond(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')}Z`
}

/** For JSON; undefined stays away. */
export function isoTime(atMs: number | undefined): string | undefined {
  return atMs === undefined ? undefined : new Date(atMs).toISOString()
}

const units = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1000, 's'],
] as const

/** `3d`, `90m`: the largest unit that says it well enough. */
export function formatSpan(ms: number): string {
  const [size, unit] = units.find(([length]) => ms >= 2 * length || ms === length) ?? units[3]
  return `${Math.round(ms / size)}${unit}`
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
