// Sends one question again and again, so many at once, in a process of its own. Told what to do by its parent.
import { createSocket } from 'node:dgram'

export type DnsLoadOrder = {
  readonly port: number
  /** base64 */
  readonly question: string
  readonly atOnce: number
  readonly durationMs: number
  /** What every answer must be as long as. */
  readonly answerBytes: number
}

export type DnsLoadResult = { readonly answers: number; readonly elapsedMs: number; readonly failures: number }

const lostAfterMs = 200

function runDnsLoad({ port, question, atOnce, durationMs, answerBytes }: DnsLoadOrder): Promise<DnsLoadResult> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    const packet = Buffer.from(question, 'base64')
    const startedMs = performance.now()
    let [answers, failures, inFlight, lastMs] = [0, 0, 0, startedMs]
    const fill = () => {
      for (; inFlight < atOnce; inFlight++) socket.send(packet)
    }
    socket.on('message', (reply) => {
      lastMs = performance.now()
      answers += 1
      inFlight -= 1
      if (reply.length !== answerBytes) failures += 1
      if (lastMs - startedMs < durationMs) fill()
      else end()
    })
    // What a full buffer dropped is asked again.
    const watch = setInterval(() => {
      if (performance.now() - startedMs > durationMs) return end()
      if (performance.now() - lastMs < lostAfterMs) return
      inFlight = 0
      fill()
    }, lostAfterMs)
    let ended = false
    function end(): void {
      if (ended) return
      ended = true
      clearInterval(watch)
      socket.close()
      resolve({ answers, elapsedMs: lastMs - startedMs, failures })
    }
    socket.connect(port, '127.0.0.1', fill)
  })
}

if (process.send !== undefined)
  process.on('message', (order: DnsLoadOrder) => void runDnsLoad(order).then((result) => process.send?.(result)))
