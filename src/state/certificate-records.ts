import { createHash } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { CertificateKey, KeptCertificates } from '../plugin-api.ts'
import type { Schema } from './schema.ts'

export function certificateRecords(db: Kysely<Schema>, nowMs: () => number): KeptCertificates {
  // Built once: this is asked for every request.
  const find = db
    .selectFrom('certificates')
    .select('chain_pem')
    .where('csr_sha256', '=', '')
    .where('issuer_key', '=', '')
    .where('profile', '=', '')
    .compile()
  return {
    async findChain(key) {
      const { rows } = await db.executeQuery<{ chain_pem: string }>({
        ...find,
        parameters: Object.values(columnsOf(key)),
      })
      return rows[0]?.chain_pem
    },
    async saveChain(key, chainPem) {
      const row = { ...columnsOf(key), chain_pem: chainPem, kept_at_ms: nowMs() }
      await db
        .insertInto('certificates')
        .values(row)
        .onConflict((conflict) => conflict.columns(['csr_sha256', 'issuer_key', 'profile']).doUpdateSet(row))
        .execute()
    },
  }
}

function columnsOf({ csr, issuerKey, profile }: CertificateKey) {
  return {
    csr_sha256: createHash('sha256').update(csr.der).digest('hex'),
    issuer_key: issuerKey,
    profile: profile ?? '',
  }
}
