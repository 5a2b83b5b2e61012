import { execFile } from 'node:child_process'
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { checkSecretFile, type Who } from '../channel/permissions.ts'
import type { PluginContext } from '../plugin-api.ts'
import { accountKeyOf } from '../plugins/keys/file.ts'
import { openAgentKey, parseAgentPlace } from '../remote-key/ssh-agent.ts'
import type { AccountdSettings } from './settings.ts'

/** The account key, as far as signing needs it. */
export type HeldKey = {
  readonly alg: string
  readonly publicJwk: Readonly<Record<string, string>>
  sign(octets: Uint8Array): Promise<Uint8Array>
}

export type KeyWorld = {
  readonly who: Who
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
  /** Asks the person at the terminal. @throws Error where there is none */
  askPassphrase(prompt: string): Promise<string>
}

type KeySettings = Pick<AccountdSettings, 'privkey' | 'gpg' | 'passphraseFile'>

/** @throws Error when the key cannot be had, or others could have it, too */
export async function openHeldKey(settings: KeySettings, world: KeyWorld): Promise<HeldKey> {
  const [, method, place = ''] = /^([a-z-]+):(.*)$/s.exec(settings.privkey) ?? []
  if (method === 'ssh-agent') {
    const key = await openAgentKey(parseAgentPlace(place, world.environment.SSH_AUTH_SOCK), world.signal)
    return { ...key, sign: (octets) => key.sign(octets, world.signal) }
  }
  const pem = method === 'gpg' ? await decrypt(settings.gpg, place) : readSecret(place, world)
  try {
    const { alg, publicJwk = {}, sign } = accountKeyOf(await unlock(pem, place, settings, world))
    // A key that is here needs nothing to sign with.
    return { alg, publicJwk, sign: (octets) => sign(octets, undefined as unknown as PluginContext) }
  } finally {
    pem.fill(0)
  }
}

/** What systemd put into its folder of credentials is ours only, whatever its mode looks like. */
function readSecret(path: string, { who, environment }: KeyWorld): Buffer {
  const { CREDENTIALS_DIRECTORY: credentials } = environment
  if (credentials === undefined || !path.startsWith(`${credentials}/`)) checkSecretFile(path, who)
  return readFileSync(path)
}

async function unlock(pem: Buffer, place: string, settings: KeySettings, world: KeyWorld): Promise<KeyObject> {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    if (!pem.includes('ENCRYPTED')) throw new Error(`${place}: Not a private key in PEM`, { cause: error })
  }
  const passphrase =
    settings.passphraseFile === undefined
      ? await world.askPassphrase('Enter PEM pass phrase:')
      : readSecret(settings.passphraseFile, world)
          .toString()
          .replace(/\r?\n$/, '')
  try {
    return createPrivateKey({ key: pem, format: 'pem', passphrase })
  } catch (cause) {
    throw new Error(`${place}: the pass phrase does not open it`, { cause })
  }
}

/** Once, at the start, as lacme-accountd does it; the key is in memory from then on. */
function decrypt([command = 'gpg', ...args]: readonly string[], path: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      [...args, '-o', '-', '--decrypt', '--', path],
      { encoding: 'buffer', maxBuffer: 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout)
        const said = stderr.toString().trim().split('\n').at(-1) || error.message
        reject(new Error(`${command} could not decrypt ${path}: ${said}`))
      },
    )
    child.stdin?.end()
  })
}
