import { connect } from 'node:net'
import { checkSocket, ownRights } from '../channel/permissions.ts'
import type { Wire } from './holder-client.ts'

/** Connects to a holder's UNIX socket. @throws Error when it is not there, or not safe */
export function openSocketWire(path: string, signal: AbortSignal): Promise<Wire> {
  checkSocket(path, ownRights())
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    const onAbort = () => {
      socket.destroy()
      reject(signal.reason instanceof Error ? signal.reason : new Error('given up'))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    let broken = ''
    socket.on('error', (error) => {
      broken = ` (${error.message})`
      signal.removeEventListener('abort', onAbort)
      reject(error)
    })
    socket.once('connect', () => {
      signal.removeEventListener('abort', onAbort)
      resolve({
        input: socket,
        output: socket,
        setIdle: (isIdle) => void (isIdle ? socket.unref() : socket.ref()),
        close: () => void socket.destroy(),
        why: async () => broken,
      })
    })
  })
}
