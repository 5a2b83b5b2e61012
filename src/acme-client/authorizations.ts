import { type Authorization, parseAuthorization } from '../acme/authorization.ts'
import type { PluginContext } from '../plugin-api.ts'
import { type AcmeReply, type AcmeTransport, jsonOf, type Signer, unusable } from './transport.ts'

/** RFC 8555 §7.5. @throws ProblemError */
export async function fetchAuthorization(
  transport: AcmeTransport,
  signer: Signer,
  url: string,
  context: PluginContext,
): Promise<Authorization> {
  return processAuthorizationReply(url, await transport.post(url, undefined, signer, context))
}

export function processAuthorizationReply(url: string, reply: AcmeReply): Authorization {
  try {
    return parseAuthorization(url, jsonOf(reply))
  } catch (cause) {
    throw unusable('the CA answered something that is no authorization', cause)
  }
}
