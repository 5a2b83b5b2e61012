import type { Challenge } from '../acme/challenge.ts'
import { ProblemError } from '../acme/problem.ts'
import type { PluginContext } from '../plugin-api.ts'
import { type AcmeTransport, jsonOf, type Signer } from './transport.ts'

/**
 * Tells the CA that the answer is there (RFC 8555 §7.5.1): the payload is `{}`, not the empty POST-as-GET.
 * A challenge that is no longer pending is not an error: an earlier request's answer was lost on the way.
 * @throws ProblemError
 */
export async function answerChallenge(
  transport: AcmeTransport,
  signer: Signer,
  challenge: Challenge,
  context: PluginContext,
): Promise<void> {
  try {
    // RFC 8555 §7.5.1: the answer is the challenge; a page that some proxy made says nothing about it.
    jsonOf(await transport.post(challenge.url, {}, signer, context))
  } catch (error) {
    if (!(error instanceof ProblemError) || error.code !== 'malformed') throw error
    context.log.debug('the CA did not take the challenge answer; the order will tell', { reason: error.message })
  }
}
