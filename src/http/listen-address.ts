import type { Server } from 'node:net'

/** Of `host:port` or `[v6%zone]:port`. */
export function hostAndPort(address: string): { host: string; port: number } {
  const separator = address.lastIndexOf(':')
  return { host: address.slice(0, separator).replace(/^\[|\]$/g, ''), port: Number(address.slice(separator + 1)) }
}

/** Where a server really listens, as it was written when that is no address and port. */
export function boundAddressOf(server: Server, address: string): string {
  const bound = server.address()
  if (bound === null || typeof bound === 'string') return address
  return `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`
}

/** For the operator, whatever it was that should listen. */
export function describeListenFailure(address: string, error: NodeJS.ErrnoException): Error {
  return new Error(`cannot listen on ${address}: ${listenReason(error)}`, { cause: error })
}

function listenReason(error: NodeJS.ErrnoException): string {
  if (error.code === 'EADDRINUSE') return 'something else listens there already'
  if (error.code === 'EACCES') return 'not permitted; ports below 1024 need CAP_NET_BIND_SERVICE'
  if (error.code === 'EADDRNOTAVAIL') return 'this machine does not have that address'
  return error.message
}
