import { asProblemError } from '../acme/problem.ts'
import { parseRenewalInfo, type RenewalInfoReply } from '../acme/renewal-info.ts'
import type { PluginContext } from '../plugin-api.ts'
import { type AcmeTransport, jsonOf } from './transport.ts'

/**
 * Asks the CA when a certificate should be replaced (RFC 9773 §4): an unsigned GET. Never throws: whatever goes wrong
 * here must not stand in the way of a renewal.
 * @returns undefined when the directory has no renewalInfo
 */
export async function fetchRenewalInfo(
  transport: AcmeTransport,
  certificateId: string,
  context: PluginContext,
): Promise<RenewalInfoReply | undefined> {
  try {
    const { renewalInfoUrl } = await transport.directory(context)
    if (renewalInfoUrl === undefined) return undefined
    const reply = await transport.get(`${renewalInfoUrl.replace(/\/$/, '')}/${certificateId}`, context)
    try {
      return { outcome: 'window', info: parseRenewalInfo(jsonOf(reply)), retryAfterMs: reply.retryAfterMs }
    } catch (error) {
      return { outcome: 'long-term failure', reason: error instanceof Error ? error.message : 'unreadable' }
    }
  } catch (error) {
    if (context.signal.aborted) throw error
    const { retry, message: reason } = asProblemError(error)
    switch (retry.when) {
      case 'backoff':
        return { outcome: 'temporary failure', reason }
      case 'notBefore':
        return { outcome: 'temporary failure', reason, retryAfterMs: retry.atMs - context.clock.nowMs() }
      case 'never':
      case 'newOrder':
        return { outcome: 'long-term failure', reason }
      default:
        return retry satisfies never
    }
  }
}
