import { type TsigAlgorithm, type TsigKey, tsigAlgorithms } from '../../dns/tsig.ts'
import type { Option } from '../../plugin-api.ts'

/** A shared secret as it was written: alone, or with the name and algorithm that a key file of BIND has. */
export type WrittenSecret = Partial<TsigKey> & Pick<TsigKey, 'secret'>

/** Keys that name the key of a DNS server (RFC 8945). */
export const tsigOptions = {
  'tsig-name': {
    meaning: 'the name of the key that signs updates, as the server knows it',
    type: 'name',
    parse: parseKeyName,
  },
  'tsig-key': {
    meaning: "the key's secret in base64, or a key file as tsig-keygen writes it, which has name and algorithm, too",
    type: 'base64',
    secret: true,
    parse: parseSecret,
  },
  'tsig-algorithm': {
    meaning: `${tsigAlgorithms.join(', ')} (default: as the key file says, else hmac-sha256)`,
    type: 'word',
    parse: parseAlgorithm,
  },
} as const satisfies Record<string, Option<unknown>>

export type TsigValues = {
  readonly 'tsig-name': string | undefined
  readonly 'tsig-key': WrittenSecret | undefined
  readonly 'tsig-algorithm': TsigAlgorithm | undefined
}

/** undefined: updates are not signed. @throws Error with a sentence for the operator */
export function tsigKeyOf(values: TsigValues): TsigKey | undefined {
  const written = values['tsig-key']
  const name = values['tsig-name'] ?? written?.name
  if (written === undefined) {
    if (name === undefined && values['tsig-algorithm'] === undefined) return undefined
    throw new Error('tsig-name and tsig-algorithm are of no use without tsig-key or tsig-key-file')
  }
  if (name === undefined) throw new Error('tsig-key needs tsig-name: the name of the key, as the server knows it')
  return { name, secret: written.secret, algorithm: values['tsig-algorithm'] ?? written.algorithm ?? 'hmac-sha256' }
}

function parseKeyName(text: string): string {
  const name = text.replace(/\.$/, '').toLowerCase()
  if (name.length > 253 || !/^[\w-]{1,63}(\.[\w-]{1,63})*$/.test(name))
    throw new Error(`${JSON.stringify(text)} is no name of a key; write it as in the server's configuration`)
  return name
}

function parseAlgorithm(text: string): TsigAlgorithm {
  const word = text.replace(/\.$/, '').toLowerCase()
  const algorithm = tsigAlgorithms.find((known) => known === word)
  if (algorithm === undefined) throw new Error(`${JSON.stringify(text)} is none of ${tsigAlgorithms.join(', ')}`)
  return algorithm
}

/** Never says what it read: it is a secret. */
function parseSecret(text: string): WrittenSecret {
  const clause = /^\s*key\s+"?([\w.-]+)"?\s*\{([^}]*)\}\s*;?\s*$/.exec(text)
  if (clause === null) return { secret: decodeSecret(text) }
  const [, name = '', body = ''] = clause
  const algorithm = /algorithm\s+"?([\w.-]+)"?\s*;/.exec(body)?.[1]
  const secret = /secret\s+"?([A-Za-z0-9+/=]+)"?\s*;/.exec(body)?.[1]
  if (algorithm === undefined || secret === undefined) throw new Error('the key clause has no algorithm or no secret')
  return { name: parseKeyName(name), algorithm: parseAlgorithm(algorithm), secret: decodeSecret(secret) }
}

function decodeSecret(text: string): Uint8Array {
  const bare = text.replace(/\s/g, '')
  const isBase64 = /^[A-Za-z0-9+/]+={0,2}$/.test(bare) && bare.length % 4 === 0
  if (!isBase64) throw new Error('it is neither base64 nor a key file as tsig-keygen writes it')
  return Buffer.from(bare, 'base64')
}
