// Given to a process with `node --import`, so that the product knows nothing of it: wraps what writes, asks and
// answers, numbers every such event, and kills the process (SIGKILL) at the one that FAILPOINT names. With
// FAILPOINT_TRACE the events are written to that file, so that one clean run lists all points of a crash.
import { openSync, writeSync } from 'node:fs'
import fs from 'node:fs/promises'
import { ServerResponse } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import { basename } from 'node:path'
import { DatabaseSync, StatementSync } from 'node:sqlite'
import { Agent, type Dispatcher } from 'undici'
import {
  type CrashEvent,
  type Failpoint,
  failpointVariable,
  formatFailpoint,
  type Phase,
  parseFailpoint,
  type TraceLine,
  traceVariable,
} from './failpoint.ts'

const { [failpointVariable]: pointText, [traceVariable]: traceFile } = process.env
const point: Failpoint | undefined = pointText === undefined ? undefined : parseFailpoint(pointText)
const traceFd = traceFile === undefined ? undefined : openSync(traceFile, 'a')
const counts = new Map<string, number>()
let events = 0

function trace(line: TraceLine): void {
  if (traceFd !== undefined) writeSync(traceFd, `${JSON.stringify(line)}\n`)
}

function begin(label: string): CrashEvent {
  const nth = (counts.get(label) ?? 0) + 1
  counts.set(label, nth)
  const event = { n: ++events, label, nth }
  trace(event)
  return event
}

function isPoint({ n, label, nth }: CrashEvent, at: Phase): boolean {
  if (point === undefined || point.at !== at) return false
  return typeof point.event === 'number' ? point.event === n : point.event.label === label && point.event.nth === nth
}

function die(event: CrashEvent, at: Phase): never {
  trace({ died: formatFailpoint(event, at) })
  process.kill(process.pid, 'SIGKILL')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  throw new Error('not reached')
}

function reach(event: CrashEvent, at: Phase): void {
  if (isPoint(event, at)) die(event, at)
}

type Method = (this: unknown, ...args: unknown[]) => unknown

/** @param act is given the former method, bound */
function wrap(owner: object, name: string, act: (call: Method, args: unknown[], self: unknown) => unknown): void {
  const former = Reflect.get(owner, name) as Method
  const wrapped: Method = function (...args) {
    return act((...given) => Reflect.apply(former, this, given), args, this)
  }
  Object.defineProperty(owner, name, { value: wrapped, configurable: true, writable: true })
}

// writes to the state ----------------------------------------------------------------------------

function labelOfSql(sql: string): string | undefined {
  const [, verb, table] = /^\s*(insert into|update|delete from)\s+"?(\w+)"?/i.exec(sql) ?? []
  if (verb !== undefined) return `${verb.toLowerCase()} ${table}`
  return /^\s*commit\b/i.test(sql) ? 'commit' : undefined
}

function aroundSql(sql: string, act: () => unknown): unknown {
  const label = labelOfSql(sql)
  if (label === undefined) return act()
  const event = begin(label)
  reach(event, 'before')
  const result = act()
  reach(event, 'after')
  return result
}

for (const name of ['run', 'all', 'get'])
  wrap(StatementSync.prototype, name, (call, args, self) =>
    aroundSql((self as StatementSync).sourceSQL, () => call(...args)),
  )
wrap(DatabaseSync.prototype, 'exec', (call, args) => aroundSql(String(args[0]), () => call(...args)))

// files ------------------------------------------------------------------------------------------

/** The temporary file of src/durable-file.ts by the name that it will have. */
function fileOf(path: unknown): string {
  const name = basename(String(path))
  // Folders of src/managed/placement.ts, named for a moment, and its links, named for a process.
  if (/^\d{13}-[0-9a-f]+$/.test(name)) return 'version'
  return /^\.(.+)\.\d+\.\d+\.tmp$/.exec(name)?.[1] ?? /^(.+)\.\d+\.tmp$/.exec(name)?.[1] ?? name
}

async function aroundFile(what: string, path: unknown, act: () => unknown): Promise<unknown> {
  const event = begin(`file ${what} ${fileOf(path)}`)
  reach(event, 'before')
  const result = await act()
  reach(event, 'after')
  return result
}

for (const name of ['rename', 'link', 'symlink', 'unlink', 'rm'])
  wrap(fs, name, (call, args) =>
    aroundFile(name, name === 'rename' || name === 'symlink' ? args[1] : args[0], () => call(...args)),
  )

wrap(fs, 'open', async (call, args) => {
  const [path, flags] = args
  if (flags === undefined || flags === 'r') return await call(...args)
  const handle = (await aroundFile('open', path, () => call(...args))) as fs.FileHandle
  wrap(handle, 'sync', (sync) => aroundFile('sync', path, () => sync()))
  wrap(handle, 'writeFile', async (write, [content]) => {
    const event = begin(`file write ${fileOf(path)}`)
    reach(event, 'before')
    const octets = Buffer.from(content as string)
    if (isPoint(event, 'half')) {
      await write(octets.subarray(0, octets.length / 2))
      die(event, 'half')
    }
    await write(octets)
    reach(event, 'after')
  })
  return handle
})

// requests to the CA -----------------------------------------------------------------------------

wrap(Agent.prototype, 'dispatch', (call, args) => {
  const [options, handler] = args as [Dispatcher.DispatchOptions, Dispatcher.DispatchHandler]
  const event = begin(`${options.method} /${options.path.split('/')[1] ?? ''}`)
  reach(event, 'before')
  const watching: Dispatcher.DispatchHandler = {
    onRequestStart(...given) {
      handler.onRequestStart?.(...given)
      // It is written right after this.
      if (isPoint(event, 'during')) setImmediate(() => die(event, 'during'))
    },
    onResponseStart(controller, status, headers, message) {
      const { location } = headers
      if (status === 201 && String(location).includes('order')) trace({ order: String(location) })
      reach(event, 'after')
      return handler.onResponseStart?.(controller, status, headers, message)
    },
    onRequestUpgrade: (...given) => handler.onRequestUpgrade?.(...given),
    onResponseData: (...given) => handler.onResponseData?.(...given),
    onResponseEnd: (...given) => handler.onResponseEnd?.(...given),
    onResponseError: (...given) => handler.onResponseError?.(...given),
  }
  return call(options, watching)
})

// messages to a DNS server -----------------------------------------------------------------------

/** RFC 1035 §4.1.1: the opcode, behind the length (RFC 7766 §8) and the id. */
function labelOfDns(octets: Uint8Array): string {
  const opcode = ((octets[4] ?? 0) >> 3) & 15
  return opcode === 5 ? 'dns update' : 'dns query'
}

wrap(net, 'connect', (call, args) => {
  const socket = call(...args) as net.Socket
  wrap(socket, 'write', (write, given) => {
    const event = begin(labelOfDns(given[0] as Uint8Array))
    reach(event, 'before')
    socket.once('data', () => reach(event, 'after'))
    const result = write(...given)
    if (isPoint(event, 'during')) setImmediate(() => die(event, 'during'))
    return result
  })
  return socket
})

// answers to hosts and validators ----------------------------------------------------------------

wrap(ServerResponse.prototype, 'end', (call, args, self) => {
  const { method, url } = (self as ServerResponse).req
  const event = begin(`answer ${method} /${url?.split('/')[1] ?? ''}`)
  reach(event, 'before')
  const result = call(...args)
  reach(event, 'after')
  return result
})

syncBuiltinESMExports()
