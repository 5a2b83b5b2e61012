import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SideRoute } from './sign-door.ts'

/**
 * `GET /agent.sh` and `GET /agent.sh.sha256`, for everybody: nothing in them is secret, and who has no certificate yet
 * has to get them.
 * @param folder where the script lies, beside `src/` and, in the package, beside `dist/`
 */
export function createAgentScript(folder: string): SideRoute {
  let loaded: ReadonlyMap<string | undefined, { readonly type: string; readonly body: Buffer }> | undefined
  const load = () => {
    const script = readFileSync(join(folder, 'agent.sh'))
    const checksum = `${createHash('sha256').update(script).digest('hex')}  agent.sh\n`
    return new Map([
      ['/agent.sh', { type: 'text/x-shellscript; charset=utf-8', body: script }],
      ['/agent.sh.sha256', { type: 'text/plain', body: Buffer.from(checksum) }],
    ])
  }
  return (request, response) => {
    if (!request.url?.startsWith('/agent.sh') || (request.method !== 'GET' && request.method !== 'HEAD')) return false
    // At the first request, and for all: a package that is replaced meanwhile must not give out half of each.
    loaded ??= load()
    const found = loaded.get(request.url)
    if (found === undefined) return false
    response.writeHead(200, { 'content-type': found.type, 'content-length': found.body.length })
    response.end(request.method === 'HEAD' ? undefined : found.body)
    return true
  }
}
