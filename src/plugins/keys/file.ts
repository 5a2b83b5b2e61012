import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import type { AccountKey, Plugin } from '../../plugin-api.ts'

const options = {
  location: {
    meaning: 'PEM file of the account key (PKCS #1, PKCS #8 or SEC 1)',
    type: 'path',
    required: true,
    parse: String,
  },
} as const

/** `key = file:/path`: the account key lies in a PEM file and is held by this process. */
export const fileAccountKey: Plugin<'accountKey', typeof options> = {
  kind: 'accountKey',
  name: 'file',
  meaning: 'the account key in a PEM file',
  options,
  async create({ location }, context) {
    const pem = await readFile(location)
    const { mode } = await stat(location)
    if ((mode & 0o077) !== 0) {
      context.log.warn('the account key can be read by others; chmod 600 it', {
        file: location,
        mode: (mode & 0o777).toString(8),
      })
    }
    return accountKeyOf(createPrivateKey(pem))
  },
}

/** @throws Error when an ACME account cannot use this kind of key */
export function accountKeyOf(privateKey: KeyObject): AccountKey & Required<Pick<AccountKey, 'publicJwk'>> {
  const { alg, digest } = algorithmOf(privateKey)
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  const publicJwk = Object.fromEntries(
    Object.entries(jwk).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
  return {
    alg,
    publicJwk,
    async sign(signingInput) {
      return sign(digest, signingInput, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    },
  }
}

function algorithmOf(key: KeyObject): { alg: AccountKey['alg']; digest: string } {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'rsa' && (modulusLength ?? 0) >= 2048) return { alg: 'RS256', digest: 'sha256' }
  if (namedCurve === 'prime256v1') return { alg: 'ES256', digest: 'sha256' }
  if (namedCurve === 'secp384r1') return { alg: 'ES384', digest: 'sha384' }
  throw new Error('an account key must be RSA of at least 2048 bits, P-256 or P-384')
}
