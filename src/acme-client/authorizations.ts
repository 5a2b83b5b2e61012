import { type Authorization, parseAuthorization } from '../acme/authorization.ts'
import { asProblemError } from '../acme/problem.ts'
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

/**
 * RFC 8555 §7.5.2: nobody will answer it any more, and CAs count those that are open. A courtesy: a failure is only
 * noted.
 */
export async function deactivateAuthorization(
  transport: AcmeTransport,
  signer: Signer,
  url: string,
  context: PluginContext,
): Promise<void> {
  try {
    await transport.post(url, { status: 'deactivated' }, signer, context)
  } catch (error) {
    context.log.debug('an authorization could not be deactivated', { url, reason: asProblemError(error).message })
  }
}

export function processAuthorizationReply(url: string, reply: AcmeReply): Authorization {
  try {
    return parseAuthorization(url, jsonOf(reply))
  } catch (cause) {
    throw unusable('the CA answered something that is no authorization', cause)
  }
}
