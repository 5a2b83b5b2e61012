import type { Clock, Logger } from '../plugin-context.ts'

const minuteMs = 60_000

/**
 * A log of what somebody else makes us say: no more than so many lines a minute, so that he cannot fill a disk. What was
 * left out is counted, and said with the first line of a later minute.
 */
export function createBoundedLog(log: Logger, clock: Clock, maxPerMinute: number): Logger {
  let beganMs = clock.monotonicMs()
  let count = 0
  const bounded =
    (level: keyof Logger): Logger[keyof Logger] =>
    (message, fields) => {
      const nowMs = clock.monotonicMs()
      if (nowMs - beganMs >= minuteMs) {
        if (count > maxPerMinute) log.warn('lines were left out', { count: count - maxPerMinute })
        beganMs = nowMs
        count = 0
      }
      count += 1
      if (count <= maxPerMinute) log[level](message, fields)
      if (count === maxPerMinute) log.warn('more of this is only counted for a minute', { after: message })
    }
  return { debug: bounded('debug'), info: bounded('info'), warn: bounded('warn'), error: bounded('error') }
}
