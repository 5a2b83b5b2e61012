import type { Kysely, Selectable } from 'kysely'
import type { Schema } from './schema.ts'

/** A right to enrol one key, handed to a host once. */
export type EnrolmentToken = {
  readonly tokenHash: string
  readonly block: string
  readonly label: string | undefined
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly usedBy: string | undefined
}

/** A host's public key that a token let in. */
export type EnrolledKey = {
  readonly keyId: string
  readonly block: string
  readonly spkiPem: string
  readonly label: string | undefined
  readonly createdAtMs: number
  readonly revokedAtMs: number | undefined
}

export interface Enrolments {
  addToken(token: Omit<EnrolmentToken, 'usedBy'>): Promise<void>
  /** The token, if it is good for this key: unused, or used by the same one. Of several keys at once one gets it. */
  useToken(tokenHash: string, keyId: string, atMs: number): Promise<EnrolmentToken | undefined>
  /** Those that nobody used yet. */
  listTokens(atMs: number): Promise<EnrolmentToken[]>
  /** Whoever holds it cannot enrol any more. */
  removeToken(tokenHash: string): Promise<void>
  removeExpiredTokens(atMs: number): Promise<void>
  /** false: this key was revoked for this block, and stays so. A key that is there already is left as it is. */
  addKey(key: Omit<EnrolledKey, 'revokedAtMs'>): Promise<boolean>
  /** Not the revoked ones. */
  findKeys(keyId: string): Promise<EnrolledKey[]>
  listKeys(): Promise<EnrolledKey[]>
  /** For every block. @returns how many were not revoked before */
  revokeKey(keyId: string, atMs: number): Promise<number>
}

export function enrolments(db: Kysely<Schema>): Enrolments {
  // Built once: this is asked for every signed request.
  const findKeys = db
    .selectFrom('enrolled_keys')
    .selectAll()
    .where('key_id', '=', '')
    .where('revoked_at_ms', 'is', null)
    .compile()
  return {
    async addToken({ tokenHash, block, label, createdAtMs, expiresAtMs }) {
      await db
        .insertInto('enrolment_tokens')
        .values({
          token_hash: tokenHash,
          block,
          label: label ?? null,
          created_at_ms: createdAtMs,
          expires_at_ms: expiresAtMs,
          used_by: null,
        })
        .execute()
    },
    async useToken(tokenHash, keyId, atMs) {
      // Anybody may ask: who guesses does not even get to the lock that writing takes.
      const known = await db
        .selectFrom('enrolment_tokens')
        .select('used_by')
        .where('token_hash', '=', tokenHash)
        .executeTakeFirst()
      if (known === undefined) return undefined
      const row = await db
        .updateTable('enrolment_tokens')
        .set({ used_by: keyId })
        .where('token_hash', '=', tokenHash)
        .where('expires_at_ms', '>', atMs)
        .where((eb) => eb.or([eb('used_by', 'is', null), eb('used_by', '=', keyId)]))
        .returningAll()
        .executeTakeFirst()
      return row === undefined ? undefined : tokenOf(row)
    },
    async listTokens(atMs) {
      const rows = await db
        .selectFrom('enrolment_tokens')
        .selectAll()
        .where('used_by', 'is', null)
        .where('expires_at_ms', '>', atMs)
        .orderBy('expires_at_ms')
        .orderBy('token_hash')
        .execute()
      return rows.map(tokenOf)
    },
    async removeToken(tokenHash) {
      await db.deleteFrom('enrolment_tokens').where('token_hash', '=', tokenHash).execute()
    },
    async removeExpiredTokens(atMs) {
      await db.deleteFrom('enrolment_tokens').where('expires_at_ms', '<=', atMs).execute()
    },
    async addKey({ keyId, block, spkiPem, label, createdAtMs }) {
      await db
        .insertInto('enrolled_keys')
        .values({
          key_id: keyId,
          block,
          spki_pem: spkiPem,
          label: label ?? null,
          created_at_ms: createdAtMs,
          revoked_at_ms: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      const row = await db
        .selectFrom('enrolled_keys')
        .select('revoked_at_ms')
        .where('key_id', '=', keyId)
        .where('block', '=', block)
        .executeTakeFirst()
      return row?.revoked_at_ms === null
    },
    async findKeys(keyId) {
      const { rows } = await db.executeQuery<Selectable<Schema['enrolled_keys']>>({ ...findKeys, parameters: [keyId] })
      return rows.map(keyOf)
    },
    async listKeys() {
      const rows = await db
        .selectFrom('enrolled_keys')
        .selectAll()
        .orderBy('created_at_ms')
        .orderBy('key_id')
        .orderBy('block')
        .execute()
      return rows.map(keyOf)
    },
    async revokeKey(keyId, atMs) {
      const rows = await db
        .updateTable('enrolled_keys')
        .set({ revoked_at_ms: atMs })
        .where('key_id', '=', keyId)
        .where('revoked_at_ms', 'is', null)
        .returning('block')
        .execute()
      return rows.length
    },
  }
}

function tokenOf(row: Selectable<Schema['enrolment_tokens']>): EnrolmentToken {
  return {
    tokenHash: row.token_hash,
    block: row.block,
    label: row.label ?? undefined,
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    usedBy: row.used_by ?? undefined,
  }
}

function keyOf(row: Selectable<Schema['enrolled_keys']>): EnrolledKey {
  return {
    keyId: row.key_id,
    block: row.block,
    spkiPem: row.spki_pem,
    label: row.label ?? undefined,
    createdAtMs: row.created_at_ms,
    revokedAtMs: row.revoked_at_ms ?? undefined,
  }
}
