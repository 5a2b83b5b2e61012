import type { PluginContext } from './plugin-context.ts'

/** Signs for the ACME account (RFC 8555 §6.2); the key itself may live anywhere. Chosen by `key = NAME:location`. */
export interface AccountKey {
  readonly alg: 'ES256' | 'ES384' | 'RS256'
  /** undefined: whoever holds the key does not show it. It then has an `accountUrl` and a `thumbprint`. */
  readonly publicJwk?: Readonly<Record<string, string>>
  /** The account that the key is for, where its holder says so: it is used as it is, never looked up or made. */
  readonly accountUrl?: string
  /** Of the public JWK (RFC 7638), where that is not shown. */
  readonly thumbprint?: string
  /** The JWS signature of these octets: for ES256 and ES384 the two integers side by side (RFC 7518 §3.4). */
  sign(signingInput: Uint8Array, context: PluginContext): Promise<Uint8Array>
}
