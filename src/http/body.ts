import type { IncomingMessage } from 'node:http'

/** undefined: more than the limit. @throws Error when the client went away */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    // It may have gone while something else was waited for; nothing would be heard of it any more.
    if (request.destroyed) reject(new Error('the client went away'))
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBytes) {
        chunks.push(chunk)
        return
      }
      request.removeAllListeners('data')
      request.pause()
      resolve(undefined)
    })
    request.on('end', () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)))
    request.on('error', reject)
    // Comes after every request; only where the end did not come first has the client gone.
    request.on('close', () => {
      if (!request.readableEnded) reject(new Error('the client went away'))
    })
  })
}
