import { createHash } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { CertificateKey, KeptCertificates } from '../plugin-api.ts'
import type { Csr } from '../x509/csr.ts'
import type { Schema } from './schema.ts'

/** For so long a chain that was just looked up is not looked up again: what another process changed is seen after it. */
const lookupLifetimeMs = 1000
const maxLookups = 1000

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
  /** By request, issuer and profile, whoever parsed the request: what one part saves another must see at once. */
  const lookups = new Map<string, Lookup>()
  const remember = (key: CertificateKey, chainPem: string) => {
    if (lookups.size >= maxLookups) lookups.clear()
    lookups.set(lookupKey(key), { chainPem, atMs: nowMs() })
  }
  return {
    async findChain(key) {
      const known = key.atOnce ? undefined : lookups.get(lookupKey(key))
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
      lookups.delete(lookupKey(key))
    },
  }
}

const hashes = new WeakMap<Csr, string>()

/** Hosts ask with the same request again and again: its hash is made once. */
function hashOf(csr: Csr): string {
  const hash = hashes.get(csr) ?? createHash('sha256').update(csr.der).digest('hex')
  hashes.set(csr, hash)
  return hash
}

function lookupKey({ csr, issuerKey, profile }: CertificateKey): string {
  return `${hashOf(csr)} ${issuerKey} ${profile ?? ''}`
}

function columnsOf({ csr, issuerKey, profile }: CertificateKey) {
  return {
    csr_sha256: hashOf(csr),
    issuer_key: issuerKey,
    profile: profile ?? '',
  }
}
