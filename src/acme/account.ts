import { isJsonObject, optionalString, requireString, requireStrings } from './json-object.ts'

/** RFC 8555 §7.1.2. The URL is the account's identity towards the CA (`kid`). */
export type Account = {
  readonly url: string
  readonly status: 'valid' | 'deactivated' | 'revoked'
  readonly contact: readonly string[]
  readonly termsOfServiceAgreed?: boolean
  /** Where the CA lists the account's orders. RFC 8555 wants it; Let's Encrypt and others have none. */
  readonly ordersUrl?: string
}

/** @throws TypeError naming what is wrong */
export function parseAccount(url: string, body: unknown): Account {
  if (!isJsonObject(body)) throw new TypeError('the account is no JSON object')
  const status = requireString(body, 'status')
  if (status !== 'valid' && status !== 'deactivated' && status !== 'revoked')
    throw new TypeError(`account status ${status}`)
  const ordersUrl = optionalString(body, 'orders')
  const agreed = body.termsOfServiceAgreed
  return {
    url,
    status,
    contact: body.contact === undefined || body.contact === null ? [] : requireStrings(body, 'contact', 100),
    ...(typeof agreed === 'boolean' ? { termsOfServiceAgreed: agreed } : {}),
    ...(ordersUrl === undefined ? {} : { ordersUrl }),
  }
}
