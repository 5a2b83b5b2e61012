// A plain client: one request to the proxy, with nothing repeated or repaired.
import { readFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { type Agent, request } from 'node:https'
import type { FaultProxy } from './fault-proxy.ts'

export type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }

/** One request on a connection of its own. */
export function ask(
  proxy: FaultProxy,
  options: { path?: string; method?: string; agent?: Agent; timeoutMs?: number } = {},
): Promise<Answer> {
  const { path = '/dir', method = 'GET', agent = false, timeoutMs = 5000 } = options
  const ca = readFileSync(proxy.caFile, 'utf8')
  const headers = { 'user-agent': 'acmems-tests' }
  const signal = AbortSignal.timeout(timeoutMs)
  const maxHeaderSize = 8 * 1024 * 1024
  return new Promise((resolve, reject) => {
    const url = new URL(path, proxy.directoryUrl)
    const req = request(url, { method, ca, headers, agent, signal, maxHeaderSize }, (res) => {
      let text = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        text += chunk
        if (text.length > 4_000_000) req.destroy(new Error('far too much'))
      })
      res.on('error', reject)
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, text }))
    })
    req.maxHeadersCount = 0
    req.on('error', reject)
    req.end()
  })
}
