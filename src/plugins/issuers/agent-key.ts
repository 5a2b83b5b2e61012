import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ensureDirectory, writeDurably } from '../../durable-file.ts'
import { errorCode } from '../../error-code.ts'
import { parsePrivateKey, thumbprintOf } from '../../signature/signing-key.ts'

/** The key that this machine signs its requests with. */
export type AgentKey = {
  readonly key: KeyObject
  /** What a server calls it that enrolled it. */
  readonly thumbprint: string
  readonly publicPem: string
  /** It was not there before. */
  readonly isNew: boolean
}

/** One name for every kind of agent: one can take over from another. */
export function defaultAgentKeyFile(stateFolder: string): string {
  return join(stateFolder, 'agent.key')
}

/**
 * Reads the key, and makes it where there is none: durable before anybody is told of it.
 * @throws Error that names the file
 */
export async function openAgentKey(file: string): Promise<AgentKey> {
  const known = await readKey(file)
  if (known !== undefined) return describe(known, false)
  const made = await makeKey(file).catch(async (error: unknown) => {
    if (errorCode(error) !== 'EEXIST') throw new Error(`${file}: no key can be made there: ${reasonOf(error)}`)
    return undefined
  })
  if (made !== undefined) return describe(made, true)
  // Another process was quicker.
  const theirs = await readKey(file)
  if (theirs === undefined) throw new Error(`${file}: it was there a moment ago`)
  return describe(theirs, false)
}

async function readKey(file: string): Promise<KeyObject | undefined> {
  try {
    return parsePrivateKey(await readFile(file))
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw new Error(`${file}: ${reasonOf(error)}`)
  }
}

/** On a curve that keys can be sealed to, too; nothing is sealed to an Ed25519 key. */
async function makeKey(file: string): Promise<KeyObject> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  await ensureDirectory(dirname(file))
  await writeDurably(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mustBeNew: true })
  await writeDurably(publicFileOf(file), describe(privateKey, true).publicPem, { mode: 0o644 })
  return privateKey
}

function describe(key: KeyObject, isNew: boolean): AgentKey {
  const publicKey = createPublicKey(key)
  const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  return { key, thumbprint: thumbprintOf(publicKey), publicPem, isNew }
}

function publicFileOf(file: string): string {
  return `${file.replace(/\.(key|pem)$/, '')}.pub`
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown reason'
}
