import type { ChallengeSolver, Issuer, PluginContext } from '../plugin-api.ts'
import { type AliasOf, discreetLog, unknownAlias } from './discretion.ts'
import type { Need, OrderRecords } from './records.ts'

export type AbandonmentParts = {
  readonly orders: OrderRecords
  readonly holder: string
  readonly context: PluginContext
  readonly aliasOf?: AliasOf
  readonly issuers: () => readonly Issuer[]
  readonly solvers: () => readonly ChallengeSolver[]
}

const leaseMs = 60_000

/** Ends an order that nobody may go on with: what it left in zones and answers is removed, its story is kept. */
export function createAbandonment(parts: AbandonmentParts): (need: Need, why?: string) => Promise<void> {
  const { orders, holder, context } = parts
  const { clock } = context
  const veiled = discreetLog(context.log, parts.aliasOf ?? unknownAlias)
  return async (need, why = 'the configuration does not allow it any more') => {
    const log = need.unrecorded === true ? veiled : context.log
    const record = await orders.claim(need, holder, clock.nowMs(), clock.nowMs() + leaseMs)
    if (record === undefined) return
    const issuer = parts.issuers().find(({ key }) => key === need.issuerKey)
    if (record.progress !== undefined) {
      try {
        await issuer?.abandon?.(record.progress, { ...context, log, solvers: parts.solvers() })
      } catch (error) {
        log.warn('what an abandoned order left behind could not be removed', { names: need.names, error })
      }
    }
    const reason = need.unrecorded === true ? 'its host did not come back' : why
    await orders.finish(record, holder, { outcome: 'abandoned', reason }, clock.nowMs())
    log.info('an order was abandoned', { names: need.names, reason })
  }
}
