import type { Kysely } from 'kysely'
import type { Schema } from './schema.ts'

/** Nonces of signed requests, so that none is taken twice: not after a restart, nor by another server. */
export interface SignatureNonces {
  /**
   * Of many that come at once with the same nonce exactly one gets true.
   * @throws Error when there are more than can be remembered: who forgot one would take it again
   */
  use(keyId: string, nonce: string, forgetAtMs: number): Promise<boolean>
  removeExpired(atMs: number): Promise<void>
}

/** Ten minutes of 800 requests a second. */
const defaultMaxNonces = 500_000
const countedEvery = 1000

/**
 * @param quick a commit does not wait for the disk: it survives every crash of ours. Only who recorded a request in the
 * moment before the power failed could repeat it, if the server is back before its five minutes are over
 */
export function signatureNonces(
  quick: Kysely<Schema>,
  nowMs: () => number,
  maxNonces = defaultMaxNonces,
): SignatureNonces {
  // Built once: this is done for every signed request.
  const insert = quick
    .insertInto('signature_nonces')
    .values({ key_id: '', nonce: '', forget_at_ms: 0 })
    .onConflict((conflict) => conflict.doNothing())
    .returning('nonce')
    .compile()
  let untilCount = 0
  /** Keys that take up so much room that others could be left without. */
  let greedy: ReadonlySet<string> = new Set()

  async function removeExpired(atMs: number): Promise<void> {
    await quick.deleteFrom('signature_nonces').where('forget_at_ms', '<=', atMs).execute()
  }

  async function count(): Promise<number> {
    const { all } = await quick
      .selectFrom('signature_nonces')
      .select(({ fn }) => fn.countAll().as('all'))
      .executeTakeFirstOrThrow()
    return Number(all)
  }

  async function findGreedy(): Promise<ReadonlySet<string>> {
    const rows = await quick
      .selectFrom('signature_nonces')
      .select('key_id')
      .groupBy('key_id')
      .having(({ fn }) => fn.countAll(), '>=', maxNonces / 2)
      .execute()
    return new Set(rows.map(({ key_id }) => key_id))
  }

  async function makeRoom(keyId: string): Promise<void> {
    if (untilCount-- <= 0) {
      untilCount = 0
      if ((await count()) >= maxNonces / 2) await removeExpired(nowMs())
      const all = await count()
      greedy = all >= maxNonces / 2 ? await findGreedy() : new Set()
      if (all >= maxNonces) throw new Error('more signed requests came within ten minutes than can be remembered')
      untilCount = Math.min(Math.ceil((maxNonces - all) / 2), countedEvery) - 1
    }
    if (greedy.has(keyId)) throw new Error(`too many requests within ten minutes were signed by ${keyId}`)
  }

  return {
    async use(keyId, nonce, forgetAtMs) {
      await makeRoom(keyId)
      const { rows } = await quick.executeQuery({ ...insert, parameters: [keyId, nonce, forgetAtMs] })
      return rows.length > 0
    },
    removeExpired,
  }
}
