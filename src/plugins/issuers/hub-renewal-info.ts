import { parseRenewalInfo, type RenewalInfoReply } from '../../acme/renewal-info.ts'
import { parseRetryAfter } from '../../acme-client/retry-after.ts'
import type { PluginContext } from '../../plugin-api.ts'
import { certificateId } from '../../x509/certificate-id.ts'
import type { HubConnection } from './hub-connection.ts'

/**
 * Asks another acmems when a certificate of its should be replaced, as CAs are asked (RFC 9773 §4). Never throws: what
 * goes wrong here must not stand in the way of a renewal.
 */
export async function askHubForWindow(
  hub: HubConnection,
  certificateDer: Uint8Array,
  context: PluginContext,
): Promise<RenewalInfoReply | undefined> {
  const id = certificateId(certificateDer)
  if (id === undefined) return undefined
  try {
    const { status, headers, body } = await hub.askUnsigned(`/renewal-info/${id}`, context)
    const after = parseRetryAfter(headers.get('retry-after')?.[0], context.clock.nowMs())
    if (status >= 500 || status === 429)
      return {
        outcome: 'temporary failure',
        reason: `status ${status}`,
        ...(after === undefined ? {} : { retryAfterMs: after }),
      }
    if (status !== 200) return { outcome: 'long-term failure', reason: `status ${status}` }
    const info = readWindow(body)
    return info === undefined
      ? { outcome: 'long-term failure', reason: 'there is no window in the answer' }
      : { outcome: 'window', info, retryAfterMs: after }
  } catch (error) {
    if (context.signal.aborted) throw error
    return { outcome: 'temporary failure', reason: error instanceof Error ? error.message : 'no answer' }
  }
}

function readWindow(body: Uint8Array) {
  try {
    return parseRenewalInfo(JSON.parse(new TextDecoder().decode(body)))
  } catch {
    return undefined
  }
}
