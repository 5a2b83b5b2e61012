import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import type { PathDoor } from '../http/paths.ts'

const scriptPath = '/agent.sh'
const checksumPath = '/agent.sh.sha256'

/**
 * `GET /agent.sh` and `GET /agent.sh.sha256`, for everybody: nothing in them is secret, and who has no certificate yet
 * has to get them.
 * @param folder where the script lies, beside `src/` and, in the package, beside `dist/`
 * @param otherwise answers what is not one of them
 */
export function createAgentScript(folder: string, otherwise: RequestListener): PathDoor[] {
  let loaded: ReadonlyMap<string | undefined, { readonly type: string; readonly body: Buffer }> | undefined
  const load = () => {
    const script = readFileSync(join(folder, 'agent.sh'))
    const checksum = `${createHash('sha256').update(script).digest('hex')}  agent.sh\n`
    return new Map([
      [scriptPath, { type: 'text/x-shellscript; charset=utf-8', body: script }],
      [checksumPath, { type: 'text/plain', body: Buffer.from(checksum) }],
    ])
  }
  const door: RequestListener = (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return otherwise(request, response)
    // At the first request, and for all: a package that is replaced meanwhile must not give out half of each.
    loaded ??= load()
    const found = loaded.get(request.url)
    if (found === undefined) return otherwise(request, response)
    response.writeHead(200, { 'content-type': found.type, 'content-length': found.body.length })
    response.end(request.method === 'HEAD' ? undefined : found.body)
  }
  return [scriptPath, checksumPath].map((path) => ({ path, door }))
}
