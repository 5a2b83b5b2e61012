// Many hosts in one process, on bare TLS sockets: asks what the hosts of a fleet ask. What it sends is made and signed
// before the time is taken. Argument: the file with the fleet. Told what to do by messages of its parent.
import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, createSecureContext, type TLSSocket } from 'node:tls'
import { signRequest } from '../src/signature/sign-request.ts'
import { boxNameOf, type PollingHost, type PollKind, type PollOrder, type PollResult } from './polling-order.ts'

type Poll = { readonly octets: Buffer; readonly status: string }

const maxFailuresShown = 5
const patienceMs = 20_000
const secureContext = createSecureContext()
const hosts = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as PollingHost[]
const keys = new Map<PollingHost, KeyObject>()

function keyOf(host: PollingHost): KeyObject {
  const key = keys.get(host) ?? createPrivateKey(host.key)
  keys.set(host, key)
  return key
}

function makePoll(port: number, kind: PollKind, index: number): Poll {
  const host = hosts[index % hosts.length]
  if (host === undefined) throw new Error('there are no hosts')
  const authority = `127.0.0.1:${port}`
  const isBox = kind === 'box' || kind === 'signed box'
  const method = isBox ? 'GET' : 'POST'
  const path = isBox ? `/box/${boxNameOf(index % hosts.length, kind)}` : '/sign'
  const body = isBox ? undefined : host.csr
  const headers: Record<string, string> = {
    Host: authority,
    'User-Agent': 'bench',
    Accept: '*/*',
    ...(isBox ? { 'If-None-Match': host.etag } : {}),
    ...(body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }),
  }
  if (kind.startsWith('signed'))
    Object.assign(
      headers,
      signRequest(
        { method, url: `https://${authority}${path}`, body },
        { keyId: host.keyId, key: keyOf(host) },
        { createdAtMs: Date.now(), nonce: randomBytes(16).toString('hex') },
      ),
    )
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return {
    octets: Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body ?? ''}`, 'latin1'),
    status: isBox ? '304' : '200',
  }
}

function open(port: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false, secureContext }
    const socket = connect(options, () => resolve(socket))
    socket.setNoDelay(true)
    socket.setTimeout(patienceMs, () => socket.destroy(new Error('no answer within the time')))
    socket.once('error', reject)
  })
}

/** @returns what was wrong with the answer, if anything */
function exchange(socket: TLSSocket, { octets, status }: Poll): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0)
    const finish = (settle: () => void) => {
      socket.off('data', read).off('error', fail).off('close', fail)
      settle()
    }
    const fail = (error: unknown) =>
      finish(() => reject(error instanceof Error ? error : new Error('the server closed the connection')))
    const read = (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
      const length = lengthOfAnswer(received)
      if (length === undefined || received.length < length) return
      const is = received.toString('latin1', 9, 12)
      const isWrong = is !== status || received.length > length
      finish(() => resolve(isWrong ? `${received.toString('latin1', 0, 2000)}` : undefined))
    }
    socket.on('data', read).on('error', fail).on('close', fail)
    socket.write(octets)
  })
}

/** undefined: the head is not complete. */
function lengthOfAnswer(received: Buffer): number | undefined {
  const end = received.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const length = /^content-length: (\d+)/im.exec(received.toString('latin1', 0, end))?.[1]
  return end + 4 + Number(length ?? 0)
}

export async function runPolls(order: PollOrder): Promise<PollResult> {
  const { port, kinds, transport, firstHost, requests, connections, perSecond } = order
  const polls = Array.from({ length: requests }, (_, index) =>
    makePoll(port, kinds[index % kinds.length] ?? 'sign', firstHost + index),
  )
  const latenciesMs: number[] = []
  const failures: string[] = []
  let next = 0
  const poll = async (kept?: TLSSocket) => {
    const one = polls[next++]
    if (one === undefined) return
    const beganMs = performance.now()
    try {
      const socket = kept ?? (await open(port))
      const wrong = await exchange(socket, one)
      latenciesMs.push(performance.now() - beganMs)
      if (wrong !== undefined) failures.push(wrong)
      if (kept === undefined) socket.on('error', () => undefined).end()
    } catch (error) {
      failures.push(error instanceof Error ? error.message : 'it failed')
      // A kept connection that is gone has no more answers.
      if (kept !== undefined) throw error
    }
  }
  const drive = async (kept?: TLSSocket) => {
    while (next < polls.length) await poll(kept)
  }
  const sockets = transport === 'kept' ? await Promise.all(Array.from({ length: connections }, () => open(port))) : []
  const beganMs = performance.now()
  const cpu = process.cpuUsage()
  if (perSecond !== undefined) {
    const running: Promise<void>[] = []
    for (let sent = 0; sent < requests; sent++) {
      const waitMs = beganMs + (sent * 1000) / perSecond - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      running.push(poll())
    }
    await Promise.all(running)
  } else if (transport === 'kept') await Promise.all(sockets.map((socket) => drive(socket)))
  else await Promise.all(Array.from({ length: connections }, () => drive()))
  const { user, system } = process.cpuUsage(cpu)
  const elapsedMs = performance.now() - beganMs
  for (const socket of sockets) socket.on('error', () => undefined).destroy()
  return { elapsedMs, cpuMs: (user + system) / 1000, latenciesMs, failures: failures.slice(0, maxFailuresShown) }
}

process.on('message', (order: PollOrder) => {
  runPolls(order).then(
    (result) => process.send?.(result),
    (error: Error) => process.send?.({ error: error.message }),
  )
})
