// Sends one request again and again over kept connections, in a process of its own and on bare sockets: what it costs
// itself must not be what limits the servers. Told what to do by messages of its parent (see load.ts).
import { connect, type Socket } from 'node:net'

export type LoadOrder = {
  readonly port: number
  readonly body: string
  /** Instead of a POST to /sign. */
  readonly request?: string
  readonly connections: number
  /** Whichever comes first. */
  readonly durationMs: number
  readonly maxRequests: number
}

export type LoadResult = {
  readonly requests: number
  readonly elapsedMs: number
  readonly latenciesMs: readonly number[]
  /** Answers that were not 200, or of another length than the first. */
  readonly failures: number
}

const startOfBody = Buffer.from('\r\n\r\n')

export async function runLoad({
  port,
  body,
  request: given,
  connections,
  durationMs,
  maxRequests,
}: LoadOrder): Promise<LoadResult> {
  const length = Buffer.byteLength(body)
  const request = Buffer.from(
    given ??
      `POST /sign HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: bench\r\nAccept: */*\r\n` +
        `Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${length}\r\n\r\n${body}`,
  )
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)))
  const latenciesMs: number[] = []
  let sent = 0
  let failures = 0
  const startedMs = performance.now()
  const endMs = startedMs + durationMs

  const drive = (socket: Socket) =>
    new Promise<void>((done, fail) => {
      let answerLength = 0
      let received = 0
      let sentAtMs = 0
      const send = () => {
        received = 0
        sentAtMs = performance.now()
        if (sentAtMs >= endMs || sent >= maxRequests) return done()
        sent += 1
        socket.write(request)
      }
      socket.on('data', (chunk: Buffer) => {
        if (received === 0) {
          // All answers are alike, so that the first one's length holds for all.
          if (answerLength === 0) answerLength = lengthOfAnswer(chunk)
          if (chunk.toString('latin1', 9, 12) !== '200') failures += 1
        }
        received += chunk.length
        if (received > answerLength) failures += 1
        if (received < answerLength) return
        latenciesMs.push(performance.now() - sentAtMs)
        send()
      })
      socket.on('error', fail)
      socket.on('close', () => fail(new Error('the server closed a kept connection')))
      send()
    })

  try {
    await Promise.all(sockets.map(drive))
    return { requests: latenciesMs.length, elapsedMs: performance.now() - startedMs, latenciesMs, failures }
  } finally {
    for (const socket of sockets) socket.removeAllListeners('close').destroy()
  }
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket))
    socket.once('error', reject)
  })
}

function lengthOfAnswer(chunk: Buffer): number {
  const end = chunk.indexOf(startOfBody)
  const length = /^content-length: (\d+)/im.exec(chunk.toString('latin1', 0, end))?.[1]
  if (end < 0 || length === undefined)
    throw new Error(`no answer as it was expected: ${chunk.toString('latin1', 0, 200)}`)
  return end + startOfBody.length + Number(length)
}

if (process.send !== undefined) {
  process.on('message', (order: LoadOrder) => {
    runLoad(order).then(
      (result) => process.send?.(result),
      (error: Error) => process.send?.({ error: error.message }),
    )
  })
}
