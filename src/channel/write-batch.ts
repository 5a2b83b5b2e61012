import type { Socket } from 'node:net'
import type { JsonObject } from '../acme/json-object.ts'
import { formatLine } from './question-protocol.ts'

/** Sends what is said in one turn of the event loop with one system call. */
export interface WriteBatch {
  add(message: JsonObject): void
  /** Sends what there is now. */
  flush(): void
}

/** @param written told when what there was is with the system, or waits there */
export function createWriteBatch(socket: Socket, written: () => void = () => undefined): WriteBatch {
  let lines = ''
  const flush = () => {
    if (lines === '') return
    if (socket.writable) socket.write(lines, 'latin1')
    lines = ''
    written()
  }
  return {
    add(message) {
      if (lines === '') setImmediate(flush)
      lines += formatLine(message)
    },
    flush,
  }
}
