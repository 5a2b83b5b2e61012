import type { Kysely } from 'kysely'
import type { OrderStep } from '../issuance/records.ts'
import { readNames, readSteps } from './order-records.ts'
import type { Schema } from './schema.ts'

/** An order as the operator looks at it: being worked on, waiting, or over. */
export type OrderStory = {
  readonly need: string
  readonly beganAtMs: number
  readonly finishedAtMs: number | undefined
  readonly issuerKey: string
  readonly block: string
  readonly names: readonly string[]
  readonly orderUrl: string | undefined
  readonly status: 'in progress' | 'waiting' | 'issued' | 'failed' | 'abandoned'
  readonly serial: string | undefined
  readonly reason: string | undefined
  readonly steps: readonly OrderStep[]
}

export type OrderStories = {
  /** The newest first. */
  list(max: number): Promise<OrderStory[]>
  removeOlder(beforeMs: number): Promise<void>
}

export function orderStories(quick: Kysely<Schema>): OrderStories {
  return {
    async list(max) {
      const current = await quick.selectFrom('orders').selectAll().orderBy('began_at_ms', 'desc').limit(max).execute()
      const over = await quick
        .selectFrom('order_stories')
        .selectAll()
        .orderBy('finished_at_ms', 'desc')
        .limit(max)
        .execute()
      const stories = [
        ...current.map(
          (row): OrderStory => ({
            ...partsOf(row),
            finishedAtMs: undefined,
            status: row.holder === null ? 'waiting' : 'in progress',
            serial: undefined,
            reason: undefined,
          }),
        ),
        ...over.map(
          (row): OrderStory => ({
            ...partsOf(row),
            finishedAtMs: row.finished_at_ms,
            status: row.outcome === 'issued' || row.outcome === 'abandoned' ? row.outcome : 'failed',
            serial: row.serial ?? undefined,
            reason: row.reason ?? undefined,
          }),
        ),
      ]
      return stories.sort((left, right) => right.beganAtMs - left.beganAtMs).slice(0, max)
    },
    async removeOlder(beforeMs) {
      await quick.deleteFrom('order_stories').where('finished_at_ms', '<', beforeMs).execute()
    },
  }
}

type CommonRow = Pick<
  Schema['order_stories'],
  'need' | 'began_at_ms' | 'issuer_key' | 'block' | 'names_json' | 'order_url' | 'steps_json'
>

function partsOf(row: CommonRow) {
  return {
    need: row.need,
    beganAtMs: row.began_at_ms,
    issuerKey: row.issuer_key,
    block: row.block,
    names: readNames(row.names_json),
    orderUrl: row.order_url ?? undefined,
    steps: readSteps(row.steps_json),
  }
}
