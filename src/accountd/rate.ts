/** So many in any such time; what was not used comes back evenly. */
export type Rate = { readonly count: number; readonly periodMs: number }

export interface RateGauge {
  /** Is there room for one more? Then it is taken. */
  take(): boolean
}

/** @param monotonicMs a clock that never jumps */
export function createRateGauge({ count, periodMs }: Rate, monotonicMs: () => number): RateGauge {
  let left = count
  let atMs = monotonicMs()
  return {
    take() {
      const nowMs = monotonicMs()
      left = Math.min(count, left + ((nowMs - atMs) * count) / periodMs)
      atMs = nowMs
      if (left < 1) return false
      left -= 1
      return true
    },
  }
}
