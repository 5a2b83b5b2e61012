import { SignatureError, type SignedRequest } from './request-signature.ts'

/**
 * What `@authority` may have been for the signer (RFC 9421 §2.2.3). Where we know what we are called, the header only
 * chooses among our names: a proxy may have changed it, and what somebody else is called is never taken. A name
 * without a port stands for every port.
 * @throws SignatureError when there is nothing to go by
 */
export function authoritiesOf(headers: SignedRequest['headers'], publicNames: readonly string[]): readonly string[] {
  const [host, ...more] = (headers.get('host') ?? []).map((value) => parseAuthority(value))
  const received = more.length === 0 ? host : undefined
  if (publicNames.length === 0) {
    if (received === undefined) throw new SignatureError(400, 'a signed request needs one Host header')
    return [received]
  }
  const isOurs =
    received !== undefined && (publicNames.includes(received) || publicNames.includes(received.replace(/:\d+$/, '')))
  return isOurs ? [received] : publicNames
}

/** Lower case, without a default port. undefined: no host and port. */
export function parseAuthority(text: string): string | undefined {
  const match = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::(\d{1,5}))?$/.exec(text.trim().toLowerCase())
  if (match === null) return undefined
  const [, host = '', port] = match
  return port === undefined || port === '443' || port === '80' ? host : `${host}:${Number(port)}`
}
