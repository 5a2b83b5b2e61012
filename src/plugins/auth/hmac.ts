import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Plugin, Presented } from '../../plugin-api.ts'

const digests = ['sha224', 'sha256', 'sha384', 'sha512'] as const
type Digest = (typeof digests)[number]

const options = {
  hmac_type: { meaning: 'digest of the request HMAC: sha256, sha384 or sha512', type: 'digest', parse: parseDigest },
  hmac_key: { meaning: 'shared secret of the request HMAC', type: 'text', secret: true, parse: parseKey },
} as const

/**
 * `hmac_type` and `hmac_key`: acmems' HMAC over the body. It has neither time nor nonce, so who records a request can
 * repeat it; naming the keys in a block is the opt-in.
 */
export const hmacCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'hmac',
  meaning: "acmems' HMAC over the request",
  options,
  check({ hmac_type: digest, hmac_key: key }) {
    if (digest === undefined || key === undefined) throw new Error('hmac_type and hmac_key belong together: give both')
  },
  async create({ hmac_type: digest = 'sha256', hmac_key: key = '' }) {
    return {
      holds: (presented) => {
        const claim = readClaim(presented.headers)
        if (claim === undefined || claim.digest !== digest) return false
        const expected = createHmac(digest, key).update(presented.bodyBytes).digest()
        return claim.mac.length === expected.length && timingSafeEqual(claim.mac, expected)
      },
      couldHold: ({ headers }) => readClaim(headers)?.digest === digest,
      legacyAdvice:
        'sign requests with signing-secret or public-key: they cannot be repeated (docs/request-signatures.md)',
    }
  },
}

type Claim = { readonly digest: Digest; readonly mac: Buffer }

/**
 * Every spelling that acmems' READMEs ever produced: `Authentication: hmac name=sha256, hash=…` in either order, with
 * comma or space, OpenSSL 3's `sha2-256`, and the first README's `HMAC-SHA256: …`. Given twice, nothing holds.
 */
function readClaim(headers: Presented['headers']): Claim | undefined {
  const claims: (Claim | undefined)[] = []
  for (const value of headers.get('authentication') ?? []) claims.push(parseAuthentication(value))
  for (const digest of digests) {
    for (const name of [`hmac-${digest}`, `hmac-${digest.replace('sha', 'sha2-')}`]) {
      for (const value of headers.get(name) ?? []) claims.push(makeClaim(digest, value.trim()))
    }
  }
  return claims.length === 1 ? claims[0] : undefined
}

function parseAuthentication(value: string): Claim | undefined {
  const match = /^hmac\s+(.{1,400})$/i.exec(value.trim())
  const parts = (match?.[1] ?? '').split(/\s*,\s*|\s+/).map((part) => /^(name|hash)=([A-Za-z0-9-]+)$/i.exec(part))
  const partOf = (name: string) => parts.find((part) => part?.[1]?.toLowerCase() === name)?.[2]
  if (parts.length !== 2 || parts.includes(null)) return undefined
  const digest = digestOf(partOf('name') ?? '')
  return digest === undefined ? undefined : makeClaim(digest, partOf('hash') ?? '')
}

function makeClaim(digest: Digest, hash: string): Claim | undefined {
  return /^(?:[0-9a-fA-F]{2}){28,64}$/.test(hash) ? { digest, mac: Buffer.from(hash, 'hex') } : undefined
}

function digestOf(name: string): Digest | undefined {
  const plain = name.toLowerCase().replace(/^sha2?-/, 'sha')
  return digests.find((digest) => digest === plain)
}

function parseDigest(text: string): Digest {
  const digest = digestOf(text)
  if (digest === undefined)
    throw new Error(`${JSON.stringify(text)} is no digest that can be used here; write sha256, sha384 or sha512`)
  return digest
}

function parseKey(text: string): string {
  if (text === '') throw new Error('an empty key would let everybody in')
  return text
}
