import { createHash } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { CertificateKey, KeptCertificates } from '../plugin-api.ts'
import type { Csr } from '../x509/csr.ts'
import type { Schema } from './schema.ts'

/** For so long a chain that was just looked up is not looked up again: what another process changed is seen after it. */
const lookupLifetimeMs = 1000

type Lookup = { readonly chainPem: string; readonly atMs: number }

export function certificateRecords(db: Kysely<Schema>, nowMs: () => number): KeptCertificates {
  // Built once: this is asked for every request.
  const find = db
    .selectFrom('certificates')
    .select('chain_pem')
    .where('csr_sha256', '=', '')
    .where('issuer_key', '=', '')
    .where('profile', '=', '')
    .compile()
  /** By the parsed request, which is one object for as long as hosts keep asking with it. */
  const lookups = new WeakMap<Csr, Map<string, Lookup>>()
  const remember = (key: CertificateKey, chainPem: string) => {
    const known = lookups.get(key.csr) ?? new Map<string, Lookup>()
    lookups.set(key.csr, known.set(variantOf(key), { chainPem, atMs: nowMs() }))
  }
  return {
    async findChain(key) {
      const known = lookups.get(key.csr)?.get(variantOf(key))
      if (known !== undefined && Math.abs(nowMs() - known.atMs) < lookupLifetimeMs) return known.chainPem
      const { rows } = await db.executeQuery<{ chain_pem: string }>({
        ...find,
        parameters: Object.values(columnsOf(key)),
      })
      const chainPem = rows[0]?.chain_pem
      if (chainPem !== undefined) remember(key, chainPem)
      return chainPem
    },
    async saveChain(key, chainPem) {
      const row = { ...columnsOf(key), chain_pem: chainPem, kept_at_ms: nowMs() }
      await db
        .insertInto('certificates')
        .values(row)
        .onConflict((conflict) => conflict.columns(['csr_sha256', 'issuer_key', 'profile']).doUpdateSet(row))
        .execute()
      remember(key, chainPem)
    },
    async removeChain(key) {
      const { csr_sha256, issuer_key, profile } = columnsOf(key)
      await db
        .deleteFrom('certificates')
        .where('csr_sha256', '=', csr_sha256)
        .where('issuer_key', '=', issuer_key)
        .where('profile', '=', profile)
        .execute()
      lookups.get(key.csr)?.delete(variantOf(key))
    },
  }
}

function variantOf({ issuerKey, profile }: CertificateKey): string {
  return `${issuerKey}\0${profile ?? ''}`
}

function columnsOf({ csr, issuerKey, profile }: CertificateKey) {
  return {
    csr_sha256: createHash('sha256').update(csr.der).digest('hex'),
    issuer_key: issuerKey,
    profile: profile ?? '',
  }
}
