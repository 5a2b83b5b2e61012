import type { LogFields } from '../plugin-api.ts'

/** Something an operator should know about the configuration, and where it stands. */
export type Finding = {
  readonly severity: 'error' | 'warning'
  /** `file:line`, or which variable or flag. */
  readonly origin: string
  readonly message: string
}

/** The configuration cannot be used; every reason at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly findings: readonly Finding[]
  constructor(findings: readonly Finding[]) {
    super(findings.map(formatFinding).join('\n'))
    this.findings = findings
  }
}

/** For a log: each finding, or what else went wrong. */
export function failureFields(error: unknown): LogFields {
  return error instanceof ConfigError ? { findings: error.findings.map(formatFinding) } : { error }
}

export function formatFinding({ severity, origin, message }: Finding): string {
  return `${origin}: ${severity === 'warning' ? 'warning: ' : ''}${message}`
}

/** The known word nearest to a mistyped one, if any is near enough to be meant. */
export function nearestWord(word: string, known: Iterable<string>): string | undefined {
  let best: { word: string; distance: number } | undefined
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (best === undefined || distance < best.distance) best = { word: candidate, distance }
  }
  return best !== undefined && best.distance <= Math.max(2, Math.floor(word.length / 3)) ? best.word : undefined
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, i) => i)
  for (const [i, leftChar] of [...left].slice(0, 64).entries()) {
    const next = [i + 1]
    for (const [j, rightChar] of [...right].entries()) {
      const replaced = (row[j] ?? 0) + (leftChar === rightChar ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[right.length] ?? left.length
}
