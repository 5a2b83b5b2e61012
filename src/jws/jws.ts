import { createHmac } from 'node:crypto'

/** RFC 7515 §7.2.2, the only serialization ACME uses (RFC 8555 §6.2). */
export type FlattenedJws = { readonly protected: string; readonly payload: string; readonly signature: string }

export type ProtectedHeader = {
  readonly alg: string
  readonly url: string
  readonly nonce?: string
  readonly jwk?: Readonly<Record<string, string>>
  readonly kid?: string
}

/** `undefined` is the empty payload of a POST-as-GET (RFC 8555 §6.3), which is not the same as `{}`. */
export type JwsPayload = object | undefined

/** Signs octets; where the key lives is the signer's business. */
export type SignOctets = (signingInput: Uint8Array) => Promise<Uint8Array>

export async function signFlattened(
  header: ProtectedHeader,
  payload: JwsPayload,
  sign: SignOctets,
): Promise<FlattenedJws> {
  const encodedHeader = encode(JSON.stringify(header))
  const encodedPayload = payload === undefined ? '' : encode(JSON.stringify(payload))
  const signature = await sign(Buffer.from(`${encodedHeader}.${encodedPayload}`))
  return { protected: encodedHeader, payload: encodedPayload, signature: Buffer.from(signature).toString('base64url') }
}

/**
 * Key rollover (RFC 8555 §7.3.5): the inner JWS, by which the new key's holder asks for the account. It has the
 * address of the outer one and no nonce.
 * @param sign signs by the new key
 */
export function signKeyChange(
  newKey: { readonly alg: string; readonly publicJwk: Readonly<Record<string, string>> },
  change: {
    readonly url: string
    readonly accountUrl: string
    readonly oldJwk: Readonly<Record<string, string>>
  },
  sign: SignOctets,
): Promise<FlattenedJws> {
  const header: ProtectedHeader = { alg: newKey.alg, jwk: newKey.publicJwk, url: change.url }
  return signFlattened(header, { account: change.accountUrl, oldKey: change.oldJwk }, sign)
}

/**
 * External account binding (RFC 8555 §7.3.4): the account's public key, authenticated by the CA's MAC key.
 * @param macKey base64url, as the CA hands it out
 */
export function bindExternalAccount(
  jwk: Readonly<Record<string, string>>,
  newAccountUrl: string,
  binding: { readonly kid: string; readonly macKey: string },
): FlattenedJws {
  const encodedHeader = encode(JSON.stringify({ alg: 'HS256', kid: binding.kid, url: newAccountUrl }))
  const encodedPayload = encode(JSON.stringify(jwk))
  const mac = createHmac('sha256', Buffer.from(binding.macKey, 'base64url')).update(
    `${encodedHeader}.${encodedPayload}`,
  )
  return { protected: encodedHeader, payload: encodedPayload, signature: mac.digest('base64url') }
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url')
}
