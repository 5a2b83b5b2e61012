import { generateKeyPairSync } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isJsonObject, type JsonObject } from '../../acme/json-object.ts'
import { ProblemError } from '../../acme/problem.ts'
import { ensureDirectory, writeDurably } from '../../durable-file.ts'
import { errorCode } from '../../error-code.ts'

/** acmems' account folder: `account.pem` is the key, `registration.json` what the CA said about it. */
export type AccountDirectory = {
  readonly path: string
  readonly keyFile: string
  /** The key of a rollover that is under way: the CA may know it already. */
  readonly nextKeyFile: string
  /** The key before the last rollover. */
  readonly previousKeyFile: string
  readRegistration(): Promise<Registration | undefined>
  saveRegistration(registration: Registration): Promise<void>
}

/** `body` and `uri` are python-acme's names for it: an older acmems can take the folder back. */
export type Registration = {
  readonly uri: string
  readonly body: JsonObject
  readonly directory?: string
  /** Of the account's key, as it was then; an older acmems wrote none. */
  readonly thumbprint?: string
}

export function accountDirectory(path: string): AccountDirectory {
  const registrationFile = join(path, 'registration.json')
  return {
    path,
    keyFile: join(path, 'account.pem'),
    nextKeyFile: join(path, 'account.next.pem'),
    previousKeyFile: join(path, 'account.previous.pem'),
    async readRegistration() {
      const text = await readIfThere(registrationFile)
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
  const thumbprint = typeof value.thumbprint === 'string' ? { thumbprint: value.thumbprint } : {}
  return { uri: value.uri, body: isJsonObject(value.body) ? value.body : {}, ...directory, ...thumbprint }
}

/** What is known about the account at this CA, without asking it. */
export async function readRegistrationAt(
  directory: AccountDirectory,
  directoryUrl: string,
): Promise<Registration | undefined> {
  const registration = await directory.readRegistration()
  return registration !== undefined && isAt(registration, directoryUrl) ? registration : undefined
}

/** acmems and we keep one registration a folder: it counts only for the CA that it came from. */
function isAt(registration: { readonly uri: string; readonly directory?: string }, directoryUrl: string): boolean {
  if (registration.directory !== undefined) return registration.directory === directoryUrl
  return (
    URL.canParse(registration.uri) &&
    new URL(registration.uri).origin === new URL(directoryUrl).origin &&
    !isAcmeV1(registration.uri)
  )
}

/** ACME v1 named accounts `/acme/reg/N`; its accounts live on under other addresses, found again by their key. */
function isAcmeV1(accountUrl: string): boolean {
  return /\/acme\/reg\/\d+$/.test(accountUrl)
}

/**
 * Makes a P-256 account key where none is.
 * @throws Error when there is one already: an account's key is never overwritten
 */
export async function createAccountKeyFile(directory: AccountDirectory): Promise<void> {
  await ensureDirectory(directory.path)
  await writeDurably(directory.keyFile, generateKeyPem(), { mustBeNew: true })
}

/**
 * Makes the key that a rollover is to bring, durable before anybody hears of it.
 * @returns its PEM
 * @throws Error when there is one already: it may be the account's key by now
 */
export async function createNextKeyFile({ nextKeyFile }: AccountDirectory): Promise<string> {
  const nextPem = generateKeyPem()
  await writeDurably(nextKeyFile, nextPem, { mustBeNew: true })
  return nextPem
}

/**
 * The CA knows the next key: it becomes the account's, and the one before it is kept. At every moment `account.pem`
 * is there and whole, and the new key is in a file; doing it again after a crash leads to the same end.
 */
export async function adoptNextKey(directory: AccountDirectory, nextPem: string): Promise<void> {
  const { keyFile, nextKeyFile, previousKeyFile } = directory
  const formerPem = await readIfThere(keyFile)
  if (formerPem !== nextPem) {
    if (formerPem !== undefined) await writeDurably(previousKeyFile, formerPem)
    await writeDurably(keyFile, nextPem)
  }
  await rm(nextKeyFile, { force: true })
}

/** The CA does not know the next key. It is put aside, not removed: a request may have been on its way for long. */
export async function discardNextKey({ path, nextKeyFile }: AccountDirectory): Promise<void> {
  try {
    await rename(nextKeyFile, join(path, 'account.unused.pem'))
  } catch (error) {
    if (!isNotThere(error)) throw error
  }
}

/** `unknown`: the CA knows neither key. */
export type SettledRollover = 'nothing' | 'finished' | 'undone' | 'unknown'

/**
 * Ends a rollover that was interrupted.
 * @param isKnown asks the CA whether the key has an account there (RFC 8555 §7.3.1); while it cannot tell it throws,
 *   and both keys stay where they are
 * @throws ProblemError when the account's key is missing and the next one is not it: nobody may make another then
 */
export async function settleRollover(
  directory: AccountDirectory,
  isKnown: (keyFile: string) => Promise<boolean>,
): Promise<SettledRollover> {
  const { keyFile, nextKeyFile } = directory
  const nextPem = await readIfThere(nextKeyFile)
  if (nextPem === undefined) return 'nothing'
  const isAdopted = (await readIfThere(keyFile)) === nextPem
  if (isAdopted || (await isKnown(nextKeyFile))) {
    await adoptNextKey(directory, nextPem)
    return 'finished'
  }
  if (!existsSync(keyFile)) {
    throw new ProblemError(
      'userActionRequired',
      `${keyFile} is missing, and the CA does not know ${nextKeyFile}: put the account's key back, or move both away`,
    )
  }
  // A CA that knows neither is not the one that the rollover was for.
  if (!(await isKnown(keyFile))) return 'unknown'
  await discardNextKey(directory)
  return 'undone'
}

/** Another text when the key's file was replaced, as by a rollover at the command line. */
export function keyFileStamp({ keyFile }: AccountDirectory): string | undefined {
  const stat = statSync(keyFile, { throwIfNoEntry: false })
  return stat === undefined ? undefined : `${stat.ino} ${stat.mtimeMs} ${stat.size}`
}

function generateKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isNotThere(error)) return undefined
    throw error
  }
}

function isNotThere(error: unknown): boolean {
  return errorCode(error) === 'ENOENT'
}
