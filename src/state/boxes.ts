import type { Kysely } from 'kysely'
import { formatPem, parsePem } from '../x509/pem.ts'
import type { BoxesTable } from './boxes-table.ts'
import type { Schema } from './schema.ts'

/** A key that was sealed to its recipient when it was made, and the request for its certificate. */
export type BegunBox = {
  readonly name: string
  /** The auth block whose callers may fetch it. */
  readonly block: string
  readonly recipientSpkiDer: Uint8Array
  readonly sealedKeyPem: string
  readonly csrDer: Uint8Array
}

/** What its recipient fetches: the sealed key, and the certificate for it. */
export type Box = BegunBox & { readonly chainPem: string; readonly updatedAtMs: number }

export type BoxContent = Pick<Box, 'name' | 'block' | 'sealedKeyPem' | 'chainPem'>

/**
 * Sealed boxes, by name. A box is *begun* before its order begins, so that no crash takes the key for which a CA issues;
 * the one that is fetched stays until the begun one is complete, and then gives way to it at once.
 */
export interface Boxes {
  /**
   * Begins a box, or finds the one that was begun before: by a process that died, or by another node.
   * @returns the box to order for. Where it is not for what is wanted now, `abandon` it and begin again.
   */
  begin(box: BegunBox): Promise<BegunBox>
  findBegun(name: string): Promise<BegunBox | undefined>
  /** All that were begun and are not complete: what to take up again after a start. */
  listBegun(): Promise<BegunBox[]>
  /**
   * Makes the begun box the one that is fetched.
   * @param csrDer the request that the chain is for
   * @returns false, and nothing changed, when no box with this request is begun any more
   */
  complete(name: string, csrDer: Uint8Array, chainPem: string): Promise<boolean>
  /** Forgets the begun box, if it still is the one with this request. The one that is fetched stays. */
  abandon(name: string, csrDer: Uint8Array): Promise<void>
  /** The box that is fetched. */
  find(name: string): Promise<Box | undefined>
  /** Only what its recipient is sent: asked for again and again. */
  findContent(name: string): Promise<BoxContent | undefined>
  list(): Promise<Box[]>
  /** Forgets both: nobody is to fetch it any more. */
  remove(name: string): Promise<void>
}

/** @param db whose commits are on the disk: a begun box is what makes a certificate usable that a CA may issue next */
export function storedBoxes(db: Kysely<Schema>, nowMs: () => number): Boxes {
  const find = async (name: string, stage: BoxesTable['stage']) =>
    await db.selectFrom('boxes').selectAll().where('name', '=', name).where('stage', '=', stage).executeTakeFirst()
  // Built once: hosts ask every minute.
  const findContent = db
    .selectFrom('boxes')
    .select(['block', 'sealed_key_pem', 'chain_pem'])
    .where('name', '=', '')
    .where('stage', '=', 'ready')
    .compile()
  const list = async (stage: BoxesTable['stage']) =>
    await db.selectFrom('boxes').selectAll().where('stage', '=', stage).orderBy('name').execute()
  const takeBegun = async (name: string, csrDer: Uint8Array, at: Kysely<Schema>) =>
    await at
      .deleteFrom('boxes')
      .where('name', '=', name)
      .where('stage', '=', 'begun')
      .where('csr_pem', '=', csrPem(csrDer))
      .returningAll()
      .executeTakeFirst()

  return {
    async begin(box) {
      const row = { ...rowOf(box), stage: 'begun' as const, chain_pem: null, updated_at_ms: nowMs() }
      for (;;) {
        await db
          .insertInto('boxes')
          .values(row)
          .onConflict((conflict) => conflict.columns(['name', 'stage']).doNothing())
          .execute()
        const begun = await find(box.name, 'begun')
        // Another node may have completed or abandoned the one that was in the way.
        if (begun !== undefined) return begunBoxOf(begun)
      }
    },
    async findBegun(name) {
      const row = await find(name, 'begun')
      return row === undefined ? undefined : begunBoxOf(row)
    },
    async listBegun() {
      return (await list('begun')).map(begunBoxOf)
    },
    async complete(name, csrDer, chainPem) {
      return await db.transaction().execute(async (transaction) => {
        // Taking comes first: of two at once only one has it, and SQLite gives the right to write before anything is read.
        const begun = await takeBegun(name, csrDer, transaction)
        if (begun === undefined) return false
        const row = { ...begun, stage: 'ready' as const, chain_pem: chainPem, updated_at_ms: nowMs() }
        await transaction
          .insertInto('boxes')
          .values(row)
          .onConflict((conflict) => conflict.columns(['name', 'stage']).doUpdateSet(row))
          .execute()
        return true
      })
    },
    async abandon(name, csrDer) {
      await takeBegun(name, csrDer, db)
    },
    async find(name) {
      const row = await find(name, 'ready')
      return row === undefined ? undefined : boxOf(row)
    },
    async findContent(name) {
      const { rows } = await db.executeQuery<BoxesTable>({ ...findContent, parameters: [name, 'ready'] })
      const [row] = rows
      if (row === undefined) return undefined
      return { name, block: row.block, sealedKeyPem: row.sealed_key_pem, chainPem: row.chain_pem ?? '' }
    },
    async list() {
      return (await list('ready')).map(boxOf)
    },
    async remove(name) {
      await db.deleteFrom('boxes').where('name', '=', name).execute()
    },
  }
}

const csrPem = (csrDer: Uint8Array) => formatPem('CERTIFICATE REQUEST', csrDer)
const derOf = (pem: string) => parsePem(pem).blocks[0]?.der ?? new Uint8Array()

function rowOf({ name, block, recipientSpkiDer, sealedKeyPem, csrDer }: BegunBox) {
  return {
    name,
    block,
    recipient_spki_pem: formatPem('PUBLIC KEY', recipientSpkiDer),
    sealed_key_pem: sealedKeyPem,
    csr_pem: csrPem(csrDer),
  }
}

function begunBoxOf(row: BoxesTable): BegunBox {
  return {
    name: row.name,
    block: row.block,
    recipientSpkiDer: derOf(row.recipient_spki_pem),
    sealedKeyPem: row.sealed_key_pem,
    csrDer: derOf(row.csr_pem),
  }
}

function boxOf(row: BoxesTable): Box {
  return { ...begunBoxOf(row), chainPem: row.chain_pem ?? '', updatedAtMs: row.updated_at_ms }
}
