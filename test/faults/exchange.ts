// One request on its way through the proxy: what it is, what rules say, what the CA says, what the client gets.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeReply, sendDripping, sendEndless, sendTruncated, sendWhole } from './answers.ts'
import type { EndpointMap } from './endpoint-map.ts'
import { type JwsContent, readJws, tryJsonObject } from './jws-content.ts'
import { changeReply } from './reply-changes.ts'
import { type EndpointKind, endpointKinds, type LogEntry, type SeenRequest } from './rule.ts'
import { createRandom, type Decision, type RuleBook } from './rule-book.ts'
import { type Outgoing, pairHeaders, type Reply } from './upstream.ts'

/** What exchanges share. */
export type Setting = {
  readonly seed: number
  readonly endpoints: EndpointMap
  readonly forward: (outgoing: Outgoing) => Promise<Reply>
  readonly book: () => RuleBook
  /** Aborted when the proxy ends. */
  readonly signal: AbortSignal
  /** When a request is over: answered, or the client is gone. */
  readonly onEntry: (entry: LogEntry) => void
  /** When a function in a rule has thrown. */
  readonly onFailure: (failure: unknown) => void
}

export type Exchanges = {
  readonly log: readonly LogEntry[]
  counts(): Readonly<Record<EndpointKind, number>>
  handle(req: IncomingMessage, res: ServerResponse): Promise<void>
}

type Entry = { -readonly [K in keyof LogEntry]: LogEntry[K] }

const maxRequestBytes = 1024 * 1024
const acmeErrorPrefix = 'urn:ietf:params:acme:error:'

export function createExchanges(setting: Setting): Exchanges {
  const { endpoints, signal } = setting
  const log: Entry[] = []
  const counts = Object.fromEntries(endpointKinds.map((kind) => [kind, 0])) as Record<EndpointKind, number>
  let usedNonce: string | undefined

  function see(req: IncomingMessage, { accountUrl, payload }: JwsContent): SeenRequest {
    if (accountUrl !== undefined) endpoints.learn('newAccount', { location: accountUrl, links: '', body: undefined })
    const { url: path = '/', method = 'GET' } = req
    const endpoint = endpoints.kindOf(path)
    counts[endpoint] += 1
    const endpointCount = counts[endpoint]
    const origin = `https://${req.headers.host ?? ''}`
    const random = createRandom(setting.seed, 'request', endpoint, endpointCount)
    return { index: log.length, endpoint, endpointCount, method, path, origin, payload, random }
  }

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    res.on('error', () => undefined) // The client is gone, as clients may be.
    const atMs = Date.now()
    const body = await readBody(req)
    const jws = readJws(body)
    const request = see(req, jws)
    const entry = makeEntry(atMs, request)
    log.push(entry)
    let decision: Decision = { changes: [], ending: undefined }
    finished(res, () => settle(request, decision, entry))
    try {
      decision = setting.book().decide(request)
      entry.actions = [...decision.changes, ...[decision.ending ?? []].flat()].map((action) => action.do)
      await runChanges(decision, request, 'before')
      const reply = await obtainReply(decision, request, entry, () => {
        if (jws.nonce !== undefined) usedNonce = jws.nonce
        const { method, path } = request
        return setting.forward({ method, path, headers: pairHeaders(req.rawHeaders), body })
      })
      if (entry.forwarded) await runChanges(decision, request, 'after')
      await answer(res, await changeAnswer(reply, decision, request, entry), decision, entry)
    } catch (failure) {
      if (!signal.aborted) {
        entry.error = describeError(failure)
        setting.onFailure(failure)
      }
      res.destroy()
    }
  }

  /** @returns undefined when there is nothing to answer with */
  async function obtainReply(
    { ending }: Decision,
    request: SeenRequest,
    entry: Entry,
    forward: () => Promise<Reply>,
  ): Promise<Reply | undefined> {
    if (ending?.do === 'cutBefore' || ending?.do === 'silence' || ending?.do === 'endless') return undefined
    const isOwn = ending?.do === 'status' || ending?.do === 'html' || ending?.do === 'emptyBody' || ending?.do === 'ari'
    const reachesCa = !isOwn || ('forwarded' in ending && ending.forwarded)
    const reply = reachesCa ? await askCa(request, entry, forward) : undefined
    return isOwn ? makeReply(ending, request) : reply
  }

  async function askCa(request: SeenRequest, entry: Entry, forward: () => Promise<Reply>): Promise<Reply | undefined> {
    try {
      const reply = await forward()
      entry.forwarded = true
      entry.problem = problemOf(reply)
      learnFrom(endpoints, request.endpoint, reply)
      return reply
    } catch (error) {
      // As without a proxy: nobody is there, or not any more.
      entry.error = `the CA did not answer: ${describeError(error)}`
      return undefined
    }
  }

  async function changeAnswer(
    reply: Reply | undefined,
    { changes }: Decision,
    request: SeenRequest,
    entry: Entry,
  ): Promise<Reply | undefined> {
    if (reply === undefined) return undefined
    let changed = reply
    for (const change of changes)
      if (entry.forwarded || change.do === 'headers') changed = await changeReply(changed, change, request, usedNonce)
    // A rule may have given the directory more endpoints.
    if (request.endpoint === 'directory') learnFrom(endpoints, 'directory', changed)
    return changed
  }

  async function answer(
    res: ServerResponse,
    reply: Reply | undefined,
    { ending }: Decision,
    entry: Entry,
  ): Promise<void> {
    if (ending?.do === 'silence') return
    if (ending?.do === 'endless') {
      entry.status = 200
      return sendEndless(res, signal)
    }
    if (reply === undefined || ending?.do === 'cutAfter') {
      res.destroy()
      return
    }
    entry.status = reply.status
    // The CA's own Date, or none when a rule has removed it.
    res.sendDate = !entry.forwarded
    if (ending?.do === 'drip') await sendDripping(res, reply, ending.bytesPerSecond, signal)
    else if (ending?.do === 'truncate') await sendTruncated(res, reply)
    else sendWhole(res, reply)
  }

  async function runChanges({ changes }: Decision, request: SeenRequest, at: 'before' | 'after'): Promise<void> {
    for (const change of changes) {
      if (change.do === 'onRequest') await change[at]?.(request)
      if (change.do === 'delay' && (change.at ?? 'before') === at) await sleep(change.ms, undefined, { signal })
    }
  }

  async function settle(request: SeenRequest, { changes }: Decision, entry: Entry): Promise<void> {
    try {
      for (const change of changes) if (change.do === 'onRequest') await change.answered?.(request)
      setting.onEntry(entry)
    } catch (failure) {
      entry.error ??= describeError(failure)
      setting.onFailure(failure)
    }
  }

  return { log, counts: () => ({ ...counts }), handle }
}

function makeEntry(atMs: number, { index, endpoint, method, path }: SeenRequest): Entry {
  const outcome = { actions: [], forwarded: false, status: undefined, problem: undefined, error: undefined }
  return { atMs, index, endpoint, method, path, ...outcome }
}

export function learnFrom(endpoints: EndpointMap, from: EndpointKind, { status, headers, body }: Reply): void {
  if (status >= 400) return
  const valuesOf = (wanted: string) =>
    headers.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value)
  const [location] = valuesOf('location')
  const links = valuesOf('link').join(', ')
  const answer = { links, body: tryJsonObject(body.toString()) }
  endpoints.learn(from, location === undefined ? answer : { ...answer, location })
}

function problemOf({ status, body }: Reply): string | undefined {
  const type = status >= 400 ? tryJsonObject(body.toString())?.type : undefined
  return typeof type === 'string' ? type.replace(acmeErrorPrefix, '') : undefined
}

async function readBody(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxRequestBytes) throw new Error(`a request of more than ${maxRequestBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
