import { createHash } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isJsonObject } from '../../acme/json-object.ts'
import { ensureDirectory, writeDurably } from '../../durable-file.ts'
import { errorCode } from '../../error-code.ts'
import type { KeptRequest, Plugin, PluginContext } from '../../plugin-api.ts'
import { parseChain } from '../../x509/chain.ts'
import { parseDays } from '../option-values.ts'

const options = {
  directory: {
    meaning: 'folder of the kept certificates; one of acmems is taken over as it is',
    type: 'path',
    required: true,
    parse: String,
  },
  'renew-within': {
    meaning:
      'renew when a request comes and less than this is left (default: 14 days, but at most a third of the lifetime)',
    type: 'days',
    parse: parseDays,
  },
} as const

/** What acmems did not write down: for whom a kept certificate is good, and that its file is whole. */
type Note = { readonly issuer: string; readonly profile: string | null; readonly chainSha256: string }

/**
 * `type = file`, in acmems' layout: the SHA-384 of the posted octets in hexadecimal, `ab/cdef…/{csr.pem,cert.pem}`;
 * beside them our `issued-by.json`.
 */
export const fileStorage: Plugin<'storage', typeof options> = {
  kind: 'storage',
  name: 'file',
  meaning: "keep certificates in files, in acmems' layout",
  options,
  async create({ directory, 'renew-within': renewWithinMs }) {
    return {
      ...(renewWithinMs === undefined ? {} : { renewWithinMs }),
      find: (request, context) => findChain(directory, request, context),
      keep: (request, chainPem) => keepChain(directory, request, chainPem),
      forget: (request) => rm(chainFileOf(directory, request.postedBytes), { force: true }),
    }
  },
}

/** Where the chain for a request is kept. */
export function chainFileOf(directory: string, postedBytes: Uint8Array): string {
  return join(folderOf(directory, postedBytes), 'cert.pem')
}

function folderOf(directory: string, postedBytes: Uint8Array): string {
  const hash = createHash('sha384').update(postedBytes).digest('hex')
  return join(directory, hash.slice(0, 2), hash.slice(2))
}

async function findChain(directory: string, request: KeptRequest, context: PluginContext): Promise<string | undefined> {
  const folder = folderOf(directory, request.postedBytes)
  try {
    const [chainPem, note] = await Promise.all([
      readIfThere(join(folder, 'cert.pem')),
      readIfThere(join(folder, 'issued-by.json')),
    ])
    if (chainPem === undefined) return undefined
    if (note === undefined) return takeOver(chainPem, folder, context)
    const { issuer, profile, chainSha256 } = parseNote(note)
    if (issuer !== request.issuerKey || profile !== (request.profile ?? null)) return undefined
    if (chainSha256 === sha256(chainPem)) return chainPem
    context.log.warn('a kept certificate is damaged; it will be ordered anew', { folder })
  } catch (error) {
    context.log.warn('a kept certificate could not be read; it will be ordered anew', { folder, error })
  }
  return undefined
}

/** acmems kept a leaf and at least one intermediate, and wrote without care: a lone leaf is a file that was cut. */
function takeOver(chainPem: string, folder: string, context: PluginContext): string | undefined {
  if (parseChain(chainPem).issuers.length > 0) return chainPem
  context.log.warn('a certificate kept by acmems is incomplete; it will be ordered anew', { folder })
  return undefined
}

async function keepChain(directory: string, request: KeptRequest, chainPem: string): Promise<void> {
  const folder = folderOf(directory, request.postedBytes)
  await ensureDirectory(folder)
  const note: Note = { issuer: request.issuerKey, profile: request.profile ?? null, chainSha256: sha256(chainPem) }
  await writeDurably(join(folder, 'csr.pem'), request.postedBytes)
  await writeDurably(join(folder, 'issued-by.json'), `${JSON.stringify(note)}\n`)
  // Last, because it is the one that is looked for.
  await writeDurably(join(folder, 'cert.pem'), chainPem)
}

function parseNote(text: string): Note {
  const note: unknown = JSON.parse(text)
  if (!isJsonObject(note)) throw new TypeError('issued-by.json is no JSON object')
  const { issuer, profile, chainSha256 } = note
  if (typeof issuer !== 'string' || typeof chainSha256 !== 'string')
    throw new TypeError('issued-by.json lacks its members')
  return { issuer, profile: typeof profile === 'string' ? profile : null, chainSha256 }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
