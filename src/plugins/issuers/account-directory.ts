import { generateKeyPairSync } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isJsonObject, type JsonObject } from '../../acme/json-object.ts'
import { ensureDirectory, writeDurably } from '../../durable-file.ts'

/** acmems' account folder: `account.pem` is the key, `registration.json` what the CA said about it. */
export type AccountDirectory = {
  readonly path: string
  readonly keyFile: string
  readRegistration(): Promise<Registration | undefined>
  saveRegistration(registration: Registration): Promise<void>
}

/** `body` and `uri` are python-acme's names for it: an older acmems can take the folder back. */
export type Registration = { readonly uri: string; readonly body: JsonObject; readonly directory?: string }

export function accountDirectory(path: string): AccountDirectory {
  const registrationFile = join(path, 'registration.json')
  return {
    path,
    keyFile: join(path, 'account.pem'),
    async readRegistration() {
      const text = await readFile(registrationFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      return text === undefined ? undefined : parseRegistration(text)
    },
    async saveRegistration(registration) {
      await ensureDirectory(path)
      await writeDurably(registrationFile, `${JSON.stringify(registration, null, 2)}\n`)
    },
  }
}

/** A damaged file is no registration: the key finds the account again. */
function parseRegistration(text: string): Registration | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isJsonObject(value) || typeof value.uri !== 'string') return undefined
  const directory = typeof value.directory === 'string' ? { directory: value.directory } : {}
  return { uri: value.uri, body: isJsonObject(value.body) ? value.body : {}, ...directory }
}

/**
 * Makes a P-256 account key where none is.
 * @throws Error when there is one already: an account's key is never overwritten
 */
export async function createAccountKeyFile(directory: AccountDirectory): Promise<void> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  await ensureDirectory(directory.path)
  await writeDurably(directory.keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), {
    mustBeNew: true,
  })
}
