import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import type { ListenOptions, Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { removeStaleSocket } from '../channel/unix-socket.ts'
import { errorCode } from '../error-code.ts'
import { answerEarly } from './early-answer.ts'
import { takeInherited } from './inherited-sockets.ts'
import { boundAddressOf, describeListenFailure, hostAndPort } from './listen-address.ts'
import { createTlsServer, type ListenerTls } from './tls-server.ts'

/** A socket that requests arrive at. Closing lets what is in flight finish, within a bound. */
export interface Listener {
  readonly address: string
  /** Where it really listens: the port is chosen by the system when port 0 was asked for. */
  readonly boundAddress: string
  close(graceMs: number): Promise<void>
}

export type ListenerLimits = { readonly maxConnections: number; readonly requestTimeoutMs: number }

const maxHeaderBytes = 16 * 1024
const maxHeaders = 100
const keepAliveMs = 60_000
const checkIntervalMs = 1000
const idleSweepMs = 50

/**
 * Opens one HTTP listener. What is no proper request (framing, size, slowness) is answered here and goes no further.
 * @param address `host:port`, `[v6%zone]:port`, `unix:/path` or `fd:N`
 * @param tls plain HTTP without it
 * @throws Error naming the address when it cannot be listened on
 */
export async function openListener(
  address: string,
  handle: RequestListener,
  limits: ListenerLimits,
  tls?: ListenerTls,
): Promise<Listener> {
  let closing = false
  const answering = new WeakMap<Duplex, ServerResponse>()
  const guarded = (request: IncomingMessage, response: ServerResponse) => {
    if (closing) response.setHeader('connection', 'close')
    answering.set(request.socket, response)
    if (request.httpVersionMajor !== 1)
      answerEarly(request, response, 400, 'only HTTP/1.0 and HTTP/1.1 are spoken here\n')
    else if (request.rawHeaders.length > 2 * maxHeaders) answerEarly(request, response, 431, 'too many headers\n')
    else handle(request, response)
  }
  const options: ServerOptions = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: limits.requestTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: checkIntervalMs,
    requireHostHeader: false,
    noDelay: true,
  }
  const { server, endConnections } =
    tls === undefined ? createPlainServer(options, guarded) : createTlsServer(options, tls, guarded)
  server.maxConnections = limits.maxConnections
  // With these two the handler itself decides whether a body is wanted at all (RFC 9110 §10.1.1).
  server.on('checkContinue', guarded)
  server.on('checkExpectation', (request, response) =>
    answerEarly(request, response, 417, 'only "Expect: 100-continue" is understood\n'),
  )
  server.on('clientError', (error, socket) => refuseClient(error, socket, answering.get(socket)))
  const boundAddress = await listenAt(server, address).catch((error: unknown) => {
    server.emit('close')
    throw error
  })
  return {
    address,
    boundAddress,
    async close(graceMs) {
      closing = true
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      const sweep = setInterval(() => server.closeIdleConnections(), idleSweepMs)
      const deadline = setTimeout(endConnections, graceMs)
      server.closeIdleConnections()
      await closed
      clearInterval(sweep)
      clearTimeout(deadline)
    },
  }
}

function createPlainServer(options: ServerOptions, handle: RequestListener) {
  const server = createServer(options, handle)
  return { server, endConnections: () => server.closeAllConnections() }
}

/**
 * Makes any server listen where an operator's `listener` says; on an inherited socket, where one is bound there.
 * @returns where it really listens
 * @throws Error naming the address when it cannot be listened on
 */
export async function listenAt(server: Server, address: string): Promise<string> {
  try {
    await listen(server, address)
  } catch (error) {
    // What a killed server left would keep its successor from starting.
    const isStale =
      errorCode(error) === 'EADDRINUSE' && address.startsWith('unix:') && (await removeStaleSocket(address.slice(5)))
    if (!isStale) throw describeListenFailure(address, error as NodeJS.ErrnoException)
    await listen(server, address).catch((again: NodeJS.ErrnoException) => {
      throw describeListenFailure(address, again)
    })
  }
  return boundAddressOf(server, address)
}

function listen(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(listenOptions(address), () => {
      server.off('error', reject)
      // Out of descriptors, say: those who wait are accepted later.
      server.on('error', () => undefined)
      resolve()
    })
  })
}

function listenOptions(address: string): ListenOptions & { fd?: number } {
  if (address.startsWith('fd:')) return { fd: Number(address.slice(3)) }
  if (address.startsWith('unix:')) return { path: address.slice('unix:'.length) }
  const inherited = takeInherited('tcp', address)
  if (inherited !== undefined) return { fd: inherited }
  const { host, port } = hostAndPort(address)
  // V6ONLY, so that 0.0.0.0 and [::] can stand side by side, as in acmems.
  return { host, port, ipv6Only: host.includes(':') }
}

/** Requests that Node's parser refused: no header of theirs can be trusted, so the connection ends. */
function refuseClient(error: NodeJS.ErrnoException, socket: Duplex, response: ServerResponse | undefined): void {
  if (!socket.writable || error.code === 'ECONNRESET' || isHandshakeError(error.code)) {
    socket.destroy()
    return
  }
  if (response?.headersSent && !response.writableFinished) {
    // It has its answer, or a part of it: a second one would be read as belonging to nothing.
    socket.end()
    return
  }
  const [status, text] = clientErrorAnswer(error.code)
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
  )
}

/** Where no TLS came about there is nobody to answer to. */
function isHandshakeError(code = ''): boolean {
  return code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_')
}

function clientErrorAnswer(code: string | undefined): [string, string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return ['408 Request Timeout', 'the request did not arrive in time\n']
  if (code === 'HPE_HEADER_OVERFLOW') return ['431 Request Header Fields Too Large', 'the headers are too large\n']
  return ['400 Bad Request', 'this is no proper HTTP request\n']
}
