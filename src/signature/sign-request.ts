import { constants, createHmac, hash, type KeyObject, sign } from 'node:crypto'
import { parseAuthority } from './authority.ts'
import { requiredComponents } from './request-signature.ts'
import { formatBareItem, formatInnerList, type InnerList } from './structured-field.ts'

/** What a request is signed with: a private key, or a secret that the server knows, too. */
export type RequestKey = { readonly keyId: string; readonly key: KeyObject }

/** A request before it is sent; `undefined` is no body. */
export type OutgoingRequest = {
  readonly method: string
  readonly url: string
  readonly body?: Uint8Array | string | undefined
}

const label = 'sig1'

/**
 * The header fields that sign a request (RFC 9421 §3.1), its body by RFC 9530. Good once: sign anew for every sending.
 * @param nonce of 16 to 128 characters, never the same again
 */
export function signRequest(
  { method, url, body }: OutgoingRequest,
  { keyId, key }: RequestKey,
  { createdAtMs, nonce }: { readonly createdAtMs: number; readonly nonce: string },
): Record<string, string> {
  const { host, pathname, search } = new URL(url)
  const digest = body === undefined ? undefined : `sha-256=:${hash('sha256', body, 'base64')}:`
  const values: Readonly<Record<string, string | undefined>> = {
    '@method': method,
    '@authority': parseAuthority(host),
    '@path': pathname,
    '@query': search,
    'content-digest': digest,
  }
  const length = String(body === undefined ? 0 : Buffer.byteLength(body))
  const headers = new Map([['content-length', [length]]])
  const components = requiredComponents({ method, path: `${pathname}${search}`, headers })
  const { alg, make } = signingOf(key)
  const input: InnerList = {
    items: components.map((value) => ({ value, parameters: new Map() })),
    parameters: new Map<string, number | string>([
      ['created', Math.floor(createdAtMs / 1000)],
      ['nonce', nonce],
      ['keyid', keyId],
      ...(alg === undefined ? [] : [['alg', alg] as const]),
    ]),
  }
  const lines = components.map((name) => {
    const value = values[name]
    if (value === undefined) throw new RangeError(`this request cannot be signed: it has no ${name}`)
    return `"${name}": ${value}`
  })
  const params = formatInnerList(input)
  const base = Buffer.from([...lines, `"@signature-params": ${params}`].join('\n'), 'latin1')
  return {
    ...(digest === undefined ? {} : { 'content-digest': digest }),
    'signature-input': `${label}=${params}`,
    signature: `${label}=${formatBareItem(make(base))}`,
  }
}

/** The algorithm is the key's (RFC 9421 §3.3); it is named only where the key could mean another one. */
function signingOf(key: KeyObject): { readonly alg?: string; make(base: Buffer): Uint8Array } {
  if (key.type === 'secret') return { make: (base) => createHmac('sha256', key).update(base).digest() }
  const ecdsa = (digest: string) => ({
    make: (base: Buffer) => sign(digest, base, { key, dsaEncoding: 'ieee-p1363' as const }),
  })
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return { make: (base) => sign(null, base, key) }
    case 'ec':
      return ecdsa(key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'sha384' : 'sha256')
    case 'rsa-pss':
      return {
        alg: 'rsa-pss-sha512',
        make: (base) => sign('sha512', base, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }),
      }
    default:
      return { make: (base) => sign('sha256', base, key) }
  }
}
