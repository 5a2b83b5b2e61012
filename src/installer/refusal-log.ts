import type { Clock, Logger } from '../plugin-api.ts'

export type Refusal = {
  /** The socket and the connection: whoever may use it is behind it. */
  readonly from: string
  readonly ask?: string | undefined
  readonly certificate?: string | undefined
  readonly why: string
}

const windowMs = 60_000
const maxInWindow = 60

/** Logs what was refused; who goes on and on is counted, so that he cannot fill a disk. */
export function createRefusalLog({ clock, log }: { readonly clock: Clock; readonly log: Logger }) {
  let beganMs = clock.monotonicMs()
  let count = 0
  return {
    note(refusal: Refusal): void {
      const nowMs = clock.monotonicMs()
      if (nowMs - beganMs >= windowMs) {
        if (count > maxInWindow) log.warn('more was refused, and not logged one by one', { count: count - maxInWindow })
        beganMs = nowMs
        count = 0
      }
      count += 1
      if (count <= maxInWindow) log.warn('refused, or it failed', { ...refusal })
      if (count === maxInWindow) log.warn('more is refused, and only counted for a minute', { from: refusal.from })
    },
  }
}
