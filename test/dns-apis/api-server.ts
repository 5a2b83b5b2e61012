// A local HTTP server that behaves as a provider's API is documented to, with its state in memory.
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type ApiCall = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export type ApiAnswer = {
  readonly status: number
  /** Sent as JSON unless it is a string. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface ApiServer extends AsyncDisposable {
  readonly endpoint: string
  readonly calls: readonly ApiCall[]
  /** The next requests that match get these answers, in this order, and change nothing. */
  failNext(method: string, ...answers: ApiAnswer[]): void
}

export async function startApiServer(handle: (call: ApiCall) => ApiAnswer | Promise<ApiAnswer>): Promise<ApiServer> {
  const calls: ApiCall[] = []
  const planned: { method: string; answer: ApiAnswer }[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      text += chunk
    })
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://api.test')
      const { method = '', headers } = request
      const call = { method, path: url.pathname, query: url.searchParams, headers, text }
      calls.push(call)
      const at = planned.findIndex((plan) => plan.method === method)
      const answer = at < 0 ? handle(call) : planned.splice(at, 1)[0]?.answer
      // Late enough for requests that come at once to overlap.
      Promise.all([answer, sleep(5)]).then(
        ([{ status, body, headers: more } = { status: 500 }]) => {
          response.writeHead(status, { 'content-type': 'application/json', ...more })
          response.end(body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body))
        },
        (error: unknown) => response.writeHead(500).end(`the test's server failed: ${error}`),
      )
    })
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    failNext: (method, ...answers) => void planned.push(...answers.map((answer) => ({ method, answer }))),
    [Symbol.asyncDispose]: () =>
      new Promise<void>((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

/** What every one of these tells the tests. */
export interface ProviderApi extends ApiServer {
  /** Options of the plugin, with the right token. */
  readonly options: Readonly<Record<string, string>>
  /** The same with a token that the API does not know. */
  readonly wrongOptions: Readonly<Record<string, string>>
  /** Unquoted TXT values of a name, sorted. */
  values(fqdn: string): string[]
  /** As somebody else would have put it there. */
  seed(fqdn: string, content: string): void
}

export const token = 'the-right-token-0123456789'

export function unquoted(contents: readonly string[]): string[] {
  return contents.map((content) => content.replace(/^"|"$/g, '')).sort()
}

/** The part of a name below a zone, as most APIs want it. */
export function below(fqdn: string, zone: string): string {
  return fqdn === zone ? '@' : fqdn.slice(0, -zone.length - 1)
}

export function zoneOf(fqdn: string, zones: readonly string[]): string {
  const found = zones
    .filter((zone) => fqdn === zone || fqdn.endsWith(`.${zone}`))
    .sort((a, b) => b.length - a.length)[0]
  if (found === undefined) throw new Error(`no zone for ${fqdn}`)
  return found
}
