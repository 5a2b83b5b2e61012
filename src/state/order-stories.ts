import type { Kysely } from 'kysely'
import type { OrderStep } from '../issuance/records.ts'
import { likeName, readNames, readSteps } from './order-records.ts'
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

/** Which stories; all that is given must hold. */
export type StoryWish = {
  readonly failed?: boolean
  /** How the id of the need begins (hexadecimal). */
  readonly needPrefix?: string
  readonly orderUrl?: string
  readonly name?: string
  /** Of the certificate that came of it. */
  readonly serial?: string
}

export type OrderStories = {
  /** The newest first. */
  list(max: number, wish?: StoryWish): Promise<OrderStory[]>
  removeOlder(beforeMs: number): Promise<void>
}

export function orderStories(quick: Kysely<Schema>): OrderStories {
  async function listCurrent(max: number, wish: StoryWish): Promise<OrderStory[]> {
    if (wish.failed === true || wish.serial !== undefined) return []
    let query = quick.selectFrom('orders').selectAll().orderBy('began_at_ms', 'desc')
    if (wish.needPrefix !== undefined) query = query.where('need', 'like', `${hexOnly(wish.needPrefix)}%`)
    if (wish.orderUrl !== undefined) query = query.where('order_url', '=', wish.orderUrl)
    if (wish.name !== undefined) query = query.where('names_json', 'like', likeName(wish.name))
    return (await query.limit(max).execute()).map((row) => ({
      ...partsOf(row),
      finishedAtMs: undefined,
      status: row.holder === null ? 'waiting' : 'in progress',
      serial: undefined,
      reason: undefined,
    }))
  }

  async function listFinished(max: number, wish: StoryWish): Promise<OrderStory[]> {
    let query = quick.selectFrom('order_stories').selectAll().orderBy('finished_at_ms', 'desc')
    if (wish.failed === true) query = query.where('outcome', '=', 'failed')
    if (wish.serial !== undefined) query = query.where('serial', '=', wish.serial)
    if (wish.needPrefix !== undefined) query = query.where('need', 'like', `${hexOnly(wish.needPrefix)}%`)
    if (wish.orderUrl !== undefined) query = query.where('order_url', '=', wish.orderUrl)
    if (wish.name !== undefined) query = query.where('names_json', 'like', likeName(wish.name))
    return (await query.limit(max).execute()).map((row) => ({
      ...partsOf(row),
      finishedAtMs: row.finished_at_ms,
      status: row.outcome === 'issued' || row.outcome === 'abandoned' ? row.outcome : 'failed',
      serial: row.serial ?? undefined,
      reason: row.reason ?? undefined,
    }))
  }

  return {
    async list(max, wish = {}) {
      const stories = [...(await listCurrent(max, wish)), ...(await listFinished(max, wish))]
      return stories
        .filter(({ names }) => wish.name === undefined || names.includes(wish.name))
        .sort((left, right) => right.beganAtMs - left.beganAtMs)
        .slice(0, max)
    },
    async removeOlder(beforeMs) {
      await quick.deleteFrom('order_stories').where('finished_at_ms', '<', beforeMs).execute()
    },
  }
}

/** What is not hexadecimal begins no id. */
function hexOnly(prefix: string): string {
  return /^[0-9a-f]+$/i.test(prefix) ? prefix.toLowerCase() : 'no such id'
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
