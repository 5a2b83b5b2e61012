// Hosts that poll: each with a request and its certificate, a key that it enrolled, and two boxes.
import { createPrivateKey, generateKeyPairSync, hash, randomBytes, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { buildCertificate } from '../src/x509/certificate-builder.ts'
import { parseCsrPem } from '../src/x509/csr.ts'
import { formatPem, parsePem } from '../src/x509/pem.ts'
import { parseRecipient } from '../src/x509/recipient.ts'
import { seal } from '../src/x509/sealed-key.ts'
import { makeCsrs } from './csrs.ts'
import { boxNameOf, type PollingHost } from './polling-order.ts'

export interface Fleet {
  readonly hosts: readonly PollingHost[]
  /** For the generator. */
  readonly file: string
  /** What a host is answered; every one gets as many octets. */
  readonly chainPem: string
}

export const blocks = { byAddress: 'by address', bySignature: 'fleet' } as const

/**
 * Writes into the state what hosts would have brought about over weeks: to have it issued one by one takes minutes.
 * @param caFolder of the issuer that shall have issued it
 */
export function makeFleet(stateFile: string, caFolder: string, file: string, count: number): Fleet {
  const csrs = makeCsrs('host', count)
  const chains = makeChains(csrs, caFolder)
  const [chainPem = ''] = chains
  const keys = csrs.map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  const spkiPems = keys.map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' }).toString())
  const keyPems = keys.map(({ privateKey }) => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
  const [recipientPem = ''] = spkiPems
  // Boxes of the usual size; nobody opens them here, so that one content does for all.
  const sealedKeyPem = seal(Buffer.from(keyPems[0] ?? ''), parseRecipient(recipientPem), { randomBytes })
  const etag = `"${hash('sha256', `${sealedKeyPem}${chainPem}`, 'base64url')}"`
  const hosts = csrs.map((csr, index): PollingHost => {
    const { publicKey } = keys[index] ?? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const keyId = hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'base64url')
    return { csr, keyId, etag, key: keyPems[index] ?? '' }
  })
  using database = new DatabaseSync(stateFile, { timeout: 60_000 })
  database.exec('BEGIN IMMEDIATE')
  enterCertificates(database, csrs, chains, `local:${caFolder}`)
  enterKeysAndBoxes(database, hosts, spkiPems, { sealedKeyPem, recipientPem, chainPem })
  database.exec('COMMIT')
  writeFileSync(file, JSON.stringify(hosts))
  return { hosts, file, chainPem }
}

function makeChains(csrs: readonly string[], caFolder: string): string[] {
  const certificatePem = readFileSync(join(caFolder, 'intermediate.pem'), 'utf8')
  const key = createPrivateKey(readFileSync(join(caFolder, 'intermediate.key'), 'utf8'))
  const issuer = { key, certificate: new X509Certificate(certificatePem) }
  const notBeforeMs = Date.now() - 3_600_000
  return csrs.map((csr) => {
    const { identifiers, publicKey } = parseCsrPem(csr)
    const times = { notBeforeMs, notAfterMs: notBeforeMs + 90 * 24 * 3_600_000 }
    const der = buildCertificate({ kind: 'leaf', identifiers, publicKey, issuer, serial: randomBytes(16), ...times })
    return `${formatPem('CERTIFICATE', der)}${certificatePem}`
  })
}

function enterCertificates(
  database: DatabaseSync,
  csrs: readonly string[],
  chains: readonly string[],
  issuerKey: string,
): void {
  const add = database.prepare(
    `INSERT INTO certificates (csr_sha256, issuer_key, profile, chain_pem, kept_at_ms) VALUES (?, ?, '', ?, ?)`,
  )
  for (const [index, csr] of csrs.entries()) {
    const [block] = parsePem(csr).blocks
    add.run(hash('sha256', block?.der ?? new Uint8Array(), 'hex'), issuerKey, chains[index] ?? '', Date.now())
  }
}

type BoxParts = { readonly sealedKeyPem: string; readonly recipientPem: string; readonly chainPem: string }

function enterKeysAndBoxes(
  database: DatabaseSync,
  hosts: readonly PollingHost[],
  spkiPems: readonly string[],
  { sealedKeyPem, recipientPem, chainPem }: BoxParts,
): void {
  const addKey = database.prepare(
    'INSERT INTO enrolled_keys (key_id, block, spki_pem, created_at_ms) VALUES (?, ?, ?, ?)',
  )
  const addBox = database.prepare(
    `INSERT INTO boxes (name, stage, block, recipient_spki_pem, sealed_key_pem, csr_pem, chain_pem, updated_at_ms)
     VALUES (?, 'ready', ?, ?, ?, ?, ?, ?)`,
  )
  const nowMs = Date.now()
  for (const [index, { csr, keyId }] of hosts.entries()) {
    addKey.run(keyId, blocks.bySignature, spkiPems[index] ?? '', nowMs)
    addBox.run(boxNameOf(index, 'box'), blocks.byAddress, recipientPem, sealedKeyPem, csr, chainPem, nowMs)
    addBox.run(boxNameOf(index, 'signed box'), blocks.bySignature, recipientPem, sealedKeyPem, csr, chainPem, nowMs)
  }
}
