import type { PluginContext } from './plugin-api.ts'
import type { State } from './state/state.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
const tidyEveryMinutes = 60
const storiesKeptMs = 90 * dayMs
const auditKeptMs = 400 * dayMs
const endedKeptMs = 30 * dayMs
/** A server that was not seen for so long is gone. */
export const serverSeenMs = 3 * minuteMs

/** Says that this server is alive, and throws away what nobody will look at any more. */
export async function createHousekeeping(
  state: State,
  holder: string,
  { clock, log, signal }: PluginContext,
  repeat: (everyMs: number, act: () => void) => Disposable,
): Promise<AsyncDisposable> {
  const startedAtMs = clock.nowMs()
  let minutes = 0

  async function keepHouse(): Promise<void> {
    const nowMs = clock.nowMs()
    await state.servers.note(holder, startedAtMs, nowMs)
    await state.nonces.removeExpired(nowMs)
    await state.aliases.refresh()
    if (minutes++ % tidyEveryMinutes !== 0) return
    await state.answers.removeExpired(nowMs)
    if (state.aliases.current !== undefined) state.scrubbing.note()
    await state.stories.removeOlder(nowMs - storiesKeptMs)
    await state.audit.removeOlder(nowMs - auditKeptMs)
    await state.register.removeEnded(nowMs - endedKeptMs)
    await state.register.wakeOversleepers(nowMs)
    await state.rates.removeFull(nowMs)
    await state.servers.removeUnseen(nowMs - dayMs)
    await state.enrolments.removeExpiredTokens(nowMs)
    await state.deployments.removeOld(nowMs)
  }

  const quietly = () =>
    keepHouse().catch((error: unknown) => {
      if (!signal.aborted) log.warn('the state could not be tidied', { error })
    })
  await quietly()
  const timer = repeat(minuteMs, () => void quietly())
  return {
    async [Symbol.asyncDispose]() {
      timer[Symbol.dispose]()
      await state.servers.remove(holder).catch(() => undefined)
    },
  }
}
