import { ProblemError } from '../../acme/problem.ts'
import type { BoxSource, HttpReply, PluginContext } from '../../plugin-api.ts'
import type { RequestKey } from '../../signature/sign-request.ts'
import { readHubRefusal } from './hub-answer.ts'
import type { HubConnection } from './hub-connection.ts'

/** The sealed boxes of another acmems, for this machine's key. */
export function createHubBoxes(
  hub: HubConnection,
  requestKey: () => Promise<RequestKey>,
  reach: (context: PluginContext) => PluginContext,
): BoxSource {
  /** Whatever is no answer: it cannot now, or it refuses. */
  function refused(reply: HttpReply, names: readonly string[], { clock }: PluginContext): ProblemError {
    const nowMs = clock.nowMs()
    const { notBeforeMs, words } = readHubRefusal(reply, { host: hub.host, names, nowMs })
    return new ProblemError('serverInternal', `${hub.host}: ${words}`, {
      retry: { when: 'notBefore', atMs: notBeforeMs },
    })
  }

  return {
    async pickUp(name, etag, context) {
      const headers: Record<string, string> = etag === undefined ? {} : { 'if-none-match': etag }
      const question = { path: `/box/${encodeURIComponent(name)}`, headers }
      const reply = await hub.ask(question, await requestKey(), reach(context))
      if (reply.status === 304 && etag !== undefined) return undefined
      if (reply.status !== 200) throw refused(reply, [], context)
      return { pem: new TextDecoder().decode(reply.body), etag: readEtag(reply) }
    },
    async recipientKey() {
      return (await requestKey()).key
    },
    async register({ name, identifiers, keyType, recipientPem }, context) {
      // A * stands for itself in a query (RFC 3986 §3.4), and a colon, too: what is signed is what is sent.
      const query = identifiers.map(({ type, value }) => `${type === 'dns' ? 'domain' : 'ip-address'}=${value}`)
      const path = `/box/${encodeURIComponent(name)}?${[...query, `key-type=${keyType}`].join('&')}`
      const reply = await hub.ask({ path, body: recipientPem }, await requestKey(), reach(context))
      const names = identifiers.map(({ value }) => value)
      if (reply.status !== 200) throw refused(reply, names, context)
    },
  }
}

/** It goes into a header of the next request as it came. */
function readEtag({ headers }: HttpReply): string | undefined {
  const [etag = ''] = headers.get('etag') ?? []
  return /^(?:W\/)?"[\x21\x23-\x7e]{0,200}"$/.test(etag) ? etag : undefined
}
