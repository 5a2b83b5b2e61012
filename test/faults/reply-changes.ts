// What rules change in an answer of the CA.
import { listHeaders } from './answers.ts'
import { tryJsonObject } from './jws-content.ts'
import type { Change, SeenRequest } from './rule.ts'
import type { Header, Reply } from './upstream.ts'

/** Well-formed, and no CA has handed it out. */
const unknownNonce = 'bmV2ZXIgaGFuZGVkIG91dA'

/** @param usedNonce one that the CA has seen already */
export async function changeReply(
  reply: Reply,
  change: Change,
  request: SeenRequest,
  usedNonce: string | undefined,
): Promise<Reply> {
  switch (change.do) {
    case 'delay':
    case 'onRequest':
      return reply
    case 'headers':
      return { ...reply, headers: changeHeaders(reply.headers, change) }
    case 'staleNonce': {
      const headers = reply.headers.map(([name, value]) =>
        name.toLowerCase() === 'replay-nonce' ? ([name, usedNonce ?? unknownNonce] as const) : ([name, value] as const),
      )
      return { ...reply, headers }
    }
    case 'replaceBody': {
      if (reply.status >= 400) return reply
      const text = typeof change.body === 'string' ? change.body : await change.body(reply.body.toString(), request)
      return { ...reply, body: Buffer.from(text) }
    }
    case 'replaceJson':
    case 'rewriteDirectory': {
      const body = reply.status < 400 ? tryJsonObject(reply.body.toString()) : undefined
      if (body === undefined || (change.do === 'rewriteDirectory' && request.endpoint !== 'directory')) return reply
      const changed = change.do === 'replaceJson' ? change.body(body, request) : change.directory(body, request)
      // The same object is the same answer, to the last blank.
      return changed === body ? reply : { ...reply, body: Buffer.from(JSON.stringify(changed)) }
    }
    default:
      return change satisfies never
  }
}

function changeHeaders(headers: readonly Header[], change: Extract<Change, { do: 'headers' }>): Header[] {
  const gone = new Set(
    [...Object.keys(change.replace ?? {}), ...(change.remove ?? [])].map((name) => name.toLowerCase()),
  )
  const kept = headers.filter(([name]) => !gone.has(name.toLowerCase()))
  return [...kept, ...listHeaders(change.replace), ...listHeaders(change.add)]
}
