import { tmpdir } from 'node:os'
import type { Plugin, PluginSetup } from '../../plugin-api.ts'
import { createHolderClient, RefusedSignature } from '../../remote-key/holder-client.ts'
import { openProcessWire } from '../../remote-key/process-wire.ts'
import { searchPath } from '../../search-path.ts'
import { openKeyOfHolder } from './held-key.ts'

/** A connection by ssh is expensive, and keeps nobody else waiting. */
const idleMs = 60_000
const firstPauseMs = 1000
const longestPauseMs = 60_000

/** By the command: a key that could not be opened is opened anew. */
const pauses = new Map<string, Pause>()

const options = {
  location: {
    meaning: 'command, words with blanks in quotes; no shell reads it',
    type: 'command',
    required: true,
    parse: parseWords,
  },
} as const

/** `key = exec:ssh -T host acmems accountd --stdio`: the account key is on another host. */
export const execAccountKey: Plugin<'accountKey', typeof options> = {
  kind: 'accountKey',
  name: 'exec',
  meaning: "the account key behind a command that speaks accountd's protocol, like ssh",
  options,
  create({ location: words }, setup) {
    const name = words.join(' ')
    const pause = pauses.get(name) ?? createPause(() => setup.clock.monotonicMs())
    pauses.set(name, pause)
    const client = createHolderClient(async () => {
      pause.check()
      return openProcessWire(words, environmentOf(setup))
    }, idleMs)
    const watched = {
      greeting: (signal: AbortSignal) => pause.watch(client.greeting(signal)),
      sign: (octets: Uint8Array, signal: AbortSignal) => pause.watch(client.sign(octets, signal)),
    }
    return openKeyOfHolder(watched, `exec:${name}`, setup.signal)
  },
}

type Pause = { check(): void; watch<T>(act: Promise<T>): Promise<T> }

/** A command that fails is not started again and again: the pause doubles until it works. */
function createPause(nowMs: () => number): Pause {
  let failures = 0
  let untilMs = Number.NEGATIVE_INFINITY
  return {
    check(): void {
      const leftMs = untilMs - nowMs()
      if (leftMs > 0) throw new Error(`it failed ${failures} times; tried again in ${Math.ceil(leftMs / 1000)} s`)
    },
    async watch<T>(act: Promise<T>): Promise<T> {
      try {
        const result = await act
        failures = 0
        untilMs = Number.NEGATIVE_INFINITY
        return result
      } catch (error) {
        if (!(error instanceof RefusedSignature) && untilMs <= nowMs()) {
          failures += 1
          untilMs = nowMs() + Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1))
        }
        throw error
      }
    },
  }
}

/** What ssh needs to find its way; nothing else of ours is its business. */
function environmentOf({ environment = {} }: PluginSetup): Record<string, string> {
  const { SSH_AUTH_SOCK: agent, USER: user, LOGNAME: logname, HOME: home = '/' } = environment
  const given = { SSH_AUTH_SOCK: agent, USER: user, LOGNAME: logname }
  const kept = Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return { PATH: searchPath, HOME: home, LANG: 'C.UTF-8', TMPDIR: tmpdir(), ...Object.fromEntries(kept) }
}

/** Words between blanks; quotes of either kind hold one together. */
export function parseWords(text: string): readonly string[] {
  const pieces = text.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+|\S/g) ?? []
  const words = pieces.map((piece) => {
    if (!/^(?:[^'"]|'[^']*'|"[^"]*")+$/.test(piece)) throw new Error(`${piece} has a quote without its partner`)
    return piece.replace(/'([^']*)'|"([^"]*)"/g, (_, single?: string, double?: string) => single ?? double ?? '')
  })
  if (words.length === 0) throw new Error('key = exec: names no command')
  return words
}
