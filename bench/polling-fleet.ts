// Hosts that poll: each with a request and its certificate, a key that it enrolled, and two boxes.
import { generateKeyPairSync, hash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Agent, request } from 'undici'
import { parseRecipient } from '../src/x509/recipient.ts'
import { seal } from '../src/x509/sealed-key.ts'
import { makeCsrs } from './csrs.ts'
import { boxNameOf, type PollingHost } from './polling-order.ts'
import type { Server } from './release.ts'

export interface Fleet {
  readonly hosts: readonly PollingHost[]
  /** For the generator. */
  readonly file: string
  /** What a host is answered; every one gets as many octets. */
  readonly chainPem: string
}

export const blocks = { byAddress: 'by address', bySignature: 'fleet' } as const
const atOnce = 16

/** Has every host's certificate issued by the server. */
export async function makeFleet(server: Server, folder: string, count: number): Promise<Fleet> {
  const csrs = makeCsrs('host', count)
  const chainPem = await issueAll(`https://127.0.0.1:${server.port}/sign`, csrs)
  const keys = csrs.map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  const recipientPem = keys[0]?.publicKey.export({ type: 'spki', format: 'pem' }).toString() ?? ''
  const sealed = keys[0]?.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() ?? ''
  // Boxes of the usual size; nobody opens them here, so that one content does for all.
  const sealedKeyPem = seal(Buffer.from(sealed), parseRecipient(recipientPem), { randomBytes })
  const etag = `"${hash('sha256', `${sealedKeyPem}${chainPem}`, 'base64url')}"`
  const hosts = csrs.map((csr, index): PollingHost => {
    const pair = keys[index]
    if (pair === undefined) throw new Error('a host without a key')
    const keyId = hash('sha256', pair.publicKey.export({ type: 'spki', format: 'der' }), 'base64url')
    return { csr, keyId, etag, key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
  })
  const spkiPems = keys.map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'pem' }).toString())
  enterKeysAndBoxes(join(folder, 'state', 'state.db'), hosts, spkiPems, { sealedKeyPem, recipientPem, chainPem })
  const file = join(folder, 'fleet.json')
  writeFileSync(file, JSON.stringify(hosts))
  return { hosts, file, chainPem }
}

/** @returns the last chain */
async function issueAll(url: string, csrs: readonly string[]): Promise<string> {
  const agent = new Agent({ connect: { rejectUnauthorized: false }, connections: atOnce })
  const pending = [...csrs]
  let chainPem = ''
  const work = async () => {
    for (let body = pending.pop(); body !== undefined; body = pending.pop()) {
      const answer = await request(url, { method: 'POST', body, dispatcher: agent })
      chainPem = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`POST /sign: ${answer.statusCode} ${chainPem}`)
    }
  }
  try {
    await Promise.all(Array.from({ length: atOnce }, work))
  } finally {
    await agent.close()
  }
  return chainPem
}

type BoxParts = { readonly sealedKeyPem: string; readonly recipientPem: string; readonly chainPem: string }

/** In one transaction, beside the code that would do it one by one. */
function enterKeysAndBoxes(
  stateFile: string,
  hosts: readonly PollingHost[],
  spkiPems: readonly string[],
  { sealedKeyPem, recipientPem, chainPem }: BoxParts,
): void {
  using database = new DatabaseSync(stateFile, { timeout: 60_000 })
  database.exec('BEGIN IMMEDIATE')
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
  database.exec('COMMIT')
}
