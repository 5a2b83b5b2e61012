import type { Clock, Logger } from '../plugin-api.ts'

const silenceMs = 10_000

/** For what the whole Internet can make happen: said once in a while, with how often it was. */
export function createSeldomLog(message: string, log: Logger, clock: Clock): (error: unknown) => void {
  let [times, saidAtMs] = [0, Number.NEGATIVE_INFINITY]
  return (error) => {
    times += 1
    if (clock.monotonicMs() - saidAtMs < silenceMs) return
    log.error(message, times === 1 ? { error } : { error, times })
    saidAtMs = clock.monotonicMs()
    times = 0
  }
}
