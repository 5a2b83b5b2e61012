/** A clock that is further from the CA's than this is not believed. */
const toleranceMs = 5 * 60_000

export function clocksAgree(ownMs: number, caMs: number): boolean {
  return Math.abs(caMs - ownMs) < toleranceMs
}

/** Our clock, unless the CA's, where it is known, shows that it is wrong. */
export function believedNowMs(ownMs: number, caMs: number | undefined): number {
  return caMs === undefined || clocksAgree(ownMs, caMs) ? ownMs : caMs
}
