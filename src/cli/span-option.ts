import { InvalidArgumentError } from 'commander'

const unitsMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `90m`, `24h`, `7d`: milliseconds, a year at most. */
export function parseSpanOption(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,5})([smhd])$/.exec(text) ?? []
  const ms = Number(count) * (unitsMs[unit] ?? 0)
  if (ms <= 0 || ms > 366 * 86_400_000)
    throw new InvalidArgumentError('It must be a time span like 90m, 24h or 7d, a year at most.')
  return ms
}
