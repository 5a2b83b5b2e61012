// A server and its responder as two processes, each of which can be killed and started again.
import { chmodSync, chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Acmems, startAcmems } from './acmems.ts'
import { acceptsTcp, type Child, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { main } from './program.ts'

export { main }

export type ResponderOptions = {
  readonly uid?: number
  readonly gid?: number
  readonly env?: NodeJS.ProcessEnv
  /** What starts it, instead of Node.js itself; it gets Node.js and its arguments after its own. */
  readonly launcher?: readonly string[]
  readonly args?: readonly string[]
  /** Instead of the sources. */
  readonly program?: string
  /** A port to knock at: what starts when somebody comes is then started. */
  readonly poke?: number
}

export interface ResponderWorld extends AsyncDisposable {
  readonly folder: string
  readonly socket: string
  readonly server: Acmems
  readonly responder: Child
  startServer(): Promise<Acmems>
  startResponder(options?: ResponderOptions): Promise<Child>
  /** With nothing said before. */
  kill(which: 'server' | 'responder'): Promise<void>
  /** Until the server's log says so. */
  untilServerSays(text: string | RegExp): Promise<void>
}

/** @param group of the socket's folder: who may ask */
export async function makeResponderWorld(
  configOf: string | ((folder: string) => string),
  { group, mgmtPort, ...first }: ResponderOptions & { readonly group?: number; readonly mgmtPort?: number } = {},
): Promise<ResponderWorld> {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(makeTempFolder('responder')).path
  const config = typeof configOf === 'string' ? configOf : configOf(folder)
  const socket = join(folder, 'answers', 'S')
  mkdirSync(join(folder, 'answers'), { mode: 0o750 })
  if (group !== undefined) {
    chownSync(join(folder, 'answers'), -1, group)
    chmodSync(join(folder, 'answers'), 0o2750)
  }
  let [server, responder]: [Acmems | undefined, Child | undefined] = [undefined, undefined]
  let runs = 0
  stack.defer(async () => {
    await responder?.stop()
    await server?.stop()
  })

  const world: Omit<ResponderWorld, keyof AsyncDisposable> = {
    folder,
    socket,
    get server() {
      if (server === undefined) throw new Error('there is no server now')
      return server
    },
    get responder() {
      if (responder === undefined) throw new Error('there is no responder now')
      return responder
    },
    async startServer() {
      const text = `${config}\n[process]\nresponder = ${socket}\n`
      server = await startAcmems(text, { folder, ...(mgmtPort === undefined ? {} : { mgmtPort }) })
      return server
    },
    async startResponder({ launcher = [], args = [], env = {}, poke, program: own = main, ...who } = {}) {
      runs += 1
      const command = [...launcher, process.execPath, own, 'responder', '--socket', socket, ...args]
      const logFile = join(folder, `responder-${runs}.log`)
      const [program = '', ...rest] = command
      responder = startChild(program, rest, { env, cwd: '/', logFile, ...who })
      if (poke !== undefined) await waitUntilReady(responder, program, () => acceptsTcp(poke))
      return responder
    },
    async kill(which) {
      const pid = which === 'server' ? world.server.pid : world.responder.pid
      process.kill(pid, 'SIGKILL')
      await (which === 'server' ? world.server : world.responder).stop()
    },
    async untilServerSays(text) {
      const says = async () =>
        typeof text === 'string' ? world.server.log().includes(text) : text.test(world.server.log())
      await waitUntilReady(world.server, `the server's word (${text})`, says, 20_000)
    },
  }
  await world.startServer()
  await world.startResponder(first)
  await world.untilServerSays('the responder answers')
  const owned = stack.move()
  return Object.defineProperties(world, {
    [Symbol.asyncDispose]: { value: () => owned.disposeAsync() },
  }) as ResponderWorld
}
