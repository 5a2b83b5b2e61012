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
  let untilCount = 0

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

  async function makeRoom(): Promise<void> {
    if (untilCount-- > 0) return
    untilCount = 0
    if ((await count()) >= maxNonces) await removeExpired(nowMs())
    const room = maxNonces - (await count())
    if (room <= 0) throw new Error('more signed requests came within ten minutes than can be remembered')
    untilCount = Math.min(room, countedEvery) - 1
  }

  return {
    async use(keyId, nonce, forgetAtMs) {
      await makeRoom()
      const taken = await quick
        .insertInto('signature_nonces')
        .values({ key_id: keyId, nonce, forget_at_ms: forgetAtMs })
        .onConflict((conflict) => conflict.doNothing())
        .returning('nonce')
        .executeTakeFirst()
      return taken !== undefined
    },
    removeExpired,
  }
}
