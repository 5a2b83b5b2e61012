// An HTTPS server between an ACME client and a real CA (Pebble), which lets faults happen by rules. Host and path reach
// the CA as the client wrote them: Pebble makes its URLs of them and compares the JWS `url` with them (RFC 8555 §6.4).
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { makeTempFolder } from '../peers/child.ts'
import { makeTlsIdentity, type TlsIdentity } from '../peers/tls-identity.ts'
import { createEndpointMap, type EndpointMap } from './endpoint-map.ts'
import { createExchanges, describeError, learnFrom } from './exchange.ts'
import { tryJsonObject } from './jws-content.ts'
import type { EndpointKind, LogEntry, Rule } from './rule.ts'
import { createRuleBook } from './rule-book.ts'
import { createUpstream, type Upstream } from './upstream.ts'

export type FaultProxyOptions = {
  /** The CA's directory, or only where it listens when that is at `/dir`. */
  readonly upstreamUrl: string
  /** What the CA's own TLS certificate leads to; the usual roots when absent. */
  readonly upstreamCaFile?: string
  readonly seed: number
  readonly rules: readonly Rule[]
  /** 127.0.0.1 when absent; `localhost` and `::1` are in its certificate, too. */
  readonly host?: string
  /** A free one when absent. */
  readonly port?: number
  /** Where its TLS identity is kept, to be the same at the next start. */
  readonly folder?: string
  /** Called when a request is over: answered, or the client is gone. */
  readonly onEntry?: (entry: LogEntry) => void
}

export interface FaultProxy extends AsyncDisposable {
  readonly directoryUrl: string
  /** PEM file that its clients must trust. */
  readonly caFile: string
  readonly port: number
  /** Every request since the start. */
  readonly log: readonly LogEntry[]
  /** From the next request on; every rule begins to count anew. */
  setRules(rules: readonly Rule[]): void
  /** Requests by endpoint since the start. */
  counts(): Readonly<Record<EndpointKind, number>>
  /** @throws Error when a function in a rule has thrown: what the client saw then was no fault that was asked for */
  stop(): Promise<void>
}

// Longer than clients keep theirs: a connection closed by the proxy is a fault only when a rule says so.
const keepAliveMs = 120_000
const identityLifetimeMs = 25 * 24 * 3_600_000

/** Starts it, once the CA behind it answers. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  await using cleanup = new AsyncDisposableStack()
  const { origin, pathname } = new URL(options.upstreamUrl)
  const directoryPath = pathname === '/' ? '/dir' : pathname
  const caPem = options.upstreamCaFile === undefined ? undefined : readFileSync(options.upstreamCaFile, 'utf8')
  const upstream = cleanup.use(createUpstream(origin, caPem))
  const endpoints = createEndpointMap(directoryPath)
  const identity = await findOrMakeIdentity(options.folder ?? cleanup.use(makeTempFolder('faults')).path)
  const failures: unknown[] = []
  const ending = new AbortController()
  let book = createRuleBook(options.rules, options.seed)
  const exchanges = createExchanges({
    seed: options.seed,
    endpoints,
    forward: (outgoing) => upstream.forward(outgoing),
    book: () => book,
    signal: ending.signal,
    onEntry: (entry) => options.onEntry?.(entry),
    onFailure: (failure) => failures.push(failure),
  })

  const tls = { key: readFileSync(identity.keyFile), cert: readFileSync(identity.certificateFile) }
  const server = createServer({ ...tls, keepAliveTimeout: keepAliveMs, requestTimeout: 0 }, (req, res) => {
    // What it cannot handle is a request that did not come whole.
    exchanges.handle(req, res).catch(() => res.destroy())
  })
  const host = options.host ?? '127.0.0.1'
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port: options.port ?? 0 }, resolve)
  })
  cleanup.defer(async () => {
    ending.abort()
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the fault proxy listens nowhere')
  const authority = `${host.includes(':') ? `[${host}]` : host}:${address.port}`
  await learnDirectory(upstream, endpoints, { url: origin + directoryPath, path: directoryPath, authority })

  const owned = cleanup.move()
  const stop = async () => {
    await owned.disposeAsync()
    const [failure] = failures.splice(0)
    if (failure !== undefined)
      throw new Error(`a rule of the fault proxy failed: ${describeError(failure)}`, { cause: failure })
  }
  return {
    directoryUrl: `https://${authority}${directoryPath}`,
    caFile: identity.caFile,
    port: address.port,
    log: exchanges.log,
    setRules(rules) {
      book = createRuleBook(rules, options.seed)
    },
    counts: exchanges.counts,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** Before any client asks: one that still has its directory from earlier never would. */
async function learnDirectory(
  upstream: Upstream,
  endpoints: EndpointMap,
  { url, path, authority }: { url: string; path: string; authority: string },
): Promise<void> {
  // RFC 8555 §6.1: a User-Agent MUST be sent, and Pebble insists.
  const headers = Object.entries({ Host: authority, 'User-Agent': 'acmems-fault-proxy' })
  const outgoing = { method: 'GET', path, headers, body: Buffer.alloc(0) }
  const reply = await upstream.forward(outgoing).catch((cause: unknown) => {
    throw new Error(`the CA at ${url} cannot be reached: ${describeError(cause)}${hintFor(cause)}`, { cause })
  })
  if (tryJsonObject(reply.body.toString())?.newOrder === undefined)
    throw new Error(`there is no ACME directory at ${url} (HTTP status ${reply.status})`)
  learnFrom(endpoints, 'directory', reply)
}

function hintFor(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const isUntrusted = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/.test(code)
  return isUntrusted ? '; give the CA of its TLS certificate (upstreamCaFile, --upstream-ca)' : ''
}

/** The one that is there as long as it is good for some days more. */
async function findOrMakeIdentity(folder: string): Promise<TlsIdentity> {
  const file = (name: string) => join(folder, name)
  const known = { caFile: file('tls-ca.pem'), certificateFile: file('tls.pem'), keyFile: file('tls.key') }
  const isThere = existsSync(known.certificateFile)
  if (isThere && Date.now() - statSync(known.certificateFile).mtimeMs < identityLifetimeMs) return known
  mkdirSync(folder, { recursive: true })
  return makeTlsIdentity(folder)
}
