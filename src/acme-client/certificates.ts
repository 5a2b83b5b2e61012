import type { IssuedChain, PluginContext } from '../plugin-api.ts'
import type { AcmeTransport, Signer } from './transport.ts'

const chainType = 'application/pem-certificate-chain'
const maxAlternates = 8

/** Downloads the chain and every alternate (RFC 8555 §7.4.2). An alternate that cannot be had is no failure. */
export async function downloadChain(
  transport: AcmeTransport,
  signer: Signer,
  url: string,
  context: PluginContext,
): Promise<IssuedChain> {
  const reply = await transport.post(url, undefined, signer, context, chainType)
  const alternates = (reply.links.get('alternate') ?? []).slice(0, maxAlternates)
  const alternatesPem: string[] = []
  for (const alternate of alternates) {
    try {
      const target = new URL(alternate, url).href
      alternatesPem.push((await transport.post(target, undefined, signer, context, chainType)).bodyText)
    } catch (error) {
      context.log.warn('an alternate chain could not be downloaded', { url: alternate, error })
    }
  }
  return { chainPem: reply.bodyText, alternatesPem }
}
