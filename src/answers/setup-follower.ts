import type { JsonObject } from '../acme/json-object.ts'
import type { Asker } from '../channel/asker.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { ResponderSetup } from '../responder-addresses.ts'
import type { OwnResponders } from '../responders.ts'
import { parseSetup } from './setup-message.ts'

const retryMs = 5000

/** Does what the server tells, and reports how it went. */
export interface SetupFollower {
  take(tell: string, content: JsonObject): void
}

/** Nothing is said twice to the same server. */
export function createSetupFollower(
  responders: OwnResponders,
  ask: Asker['ask'],
  { clock, log, signal }: Pick<PluginContext, 'clock' | 'log' | 'signal'>,
): SetupFollower {
  let wanted: ResponderSetup | undefined
  let isWorking = false
  let [lastAddresses, lastTrouble] = ['', '']
  let retry = new AbortController()

  // The server that asked may be gone by now; the next one asks again.
  const report = (what: string, content: JsonObject) => ask(what, content).catch(() => undefined)

  async function work(): Promise<void> {
    while (wanted !== undefined && !signal.aborted) {
      const setup = wanted
      wanted = undefined
      retry = new AbortController()
      const failures = await responders.changeWhatCan(setup)
      if (signal.aborted) return
      const { addresses } = responders
      if (JSON.stringify(addresses) !== lastAddresses) {
        log.info('answering', { addresses })
        await report('listening', { addresses })
      }
      lastAddresses = JSON.stringify(addresses)
      const why = failures.map((error) => (error instanceof Error ? error.message : 'unknown reason')).join('; ')
      if (why !== '' && why !== lastTrouble) {
        log.error('not all addresses can be had; they are tried again', { why })
        await report('trouble', { why })
      }
      lastTrouble = why
      if (why === '' || wanted !== undefined) continue
      await clock.sleep(retryMs, AbortSignal.any([signal, retry.signal])).catch(() => undefined)
      wanted ??= setup
    }
  }

  return {
    take(tell, content) {
      if (tell !== 'setup') return
      try {
        wanted = parseSetup(content)
      } catch (error) {
        log.error('the server says something that is no setup', { error })
        return
      }
      // A server that has just come knows nothing of what was told to the one before.
      lastAddresses = ''
      lastTrouble = ''
      retry.abort()
      if (isWorking) return
      isWorking = true
      work()
        .catch((error: unknown) => log.error('the listeners cannot be changed', { error }))
        .finally(() => {
          isWorking = false
        })
    },
  }
}
