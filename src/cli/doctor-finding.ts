import { oneLine } from '../acme/problem.ts'

/** `fails`: an order for the name will fail because of it. `unclear`: it cannot be told from here. */
export type Verdict = 'good' | 'note' | 'unclear' | 'fails'

/** One thing that was looked at on the way to a certificate. */
export type DoctorFinding = {
  readonly topic: string
  readonly verdict: Verdict
  readonly says: string
  /** What to do about it. */
  readonly advice?: string
}

export type Diagnosis = { readonly name: string; readonly findings: readonly DoctorFinding[] }

const marks: Readonly<Record<Verdict, string>> = { good: 'ok', note: '-', unclear: '?', fails: 'FAILS' }

export function isHealthy({ findings }: Diagnosis): boolean {
  return findings.every(({ verdict }) => verdict !== 'fails')
}

/** A line for each finding, what to do below it, and the sum of it first. */
export function formatDiagnosis(diagnosis: Diagnosis): string {
  const { name, findings } = diagnosis
  const width = Math.max(...findings.map(({ topic }) => topic.length))
  const lines = findings.flatMap(({ topic, verdict, says, advice }) => [
    `  ${marks[verdict].padEnd(5)}  ${topic.padEnd(width)}  ${oneLine(says)}`,
    ...(advice === undefined ? [] : [`  ${''.padEnd(5)}  ${''.padEnd(width)}  -> ${oneLine(advice)}`]),
  ])
  return `${[`${name}: ${summarize(diagnosis)}`, ...lines].join('\n')}\n`
}

function summarize({ findings }: Diagnosis): string {
  const count = (wanted: Verdict) => findings.filter(({ verdict }) => verdict === wanted).length
  if (count('fails') > 0) return 'it will fail'
  return count('unclear') > 0 ? 'nothing is known to fail, and not everything could be looked at' : 'all is well'
}
