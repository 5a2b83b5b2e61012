import type { JsonObject } from '../acme/json-object.ts'
import { requireString } from '../acme/json-object.ts'
import { ProblemError } from '../acme/problem.ts'
import { type Answering, answerQuestions } from '../channel/answerer.ts'
import { createBoundedLog } from '../channel/bounded-log.ts'
import { ownRights } from '../channel/permissions.ts'
import { listenOnSocket } from '../channel/unix-socket.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { LiveAnswers } from '../responder/live-answers.ts'
import { createSeldomLog } from '../responder/seldom-log.ts'
import {
  mergeAddresses,
  type ResponderAddresses,
  type ResponderSetup,
  type Responders,
} from '../responder-addresses.ts'
import { askNarrowly } from './narrow-answers.ts'
import { formatSetup, maxQuestionBytes, parseAddresses } from './setup-message.ts'

/** One is the usual; a second one may come before the first has gone. */
const maxConnections = 4
const maxPending = 256
/** It may be in a stranger's hands. */
const maxReportsPerMinute = 30
const maxReportLength = 500
const firstWaitMs = 10_000
/** One that is started again is back by then; without it the CA would be sent to nobody. */
const longestWaitMs = 10_000
const lookMs = 50

type Connected = { readonly answering: Answering; addresses: ResponderAddresses }

/**
 * The server's side of a responder in a process of its own: a socket at which questions about single answers are
 * answered, and from which it is told where to listen.
 * @throws Error when the socket cannot be had
 */
export async function openAnswersDoor(
  path: string,
  answers: LiveAnswers,
  { clock, log, signal }: Pick<PluginContext, 'clock' | 'log' | 'signal'>,
): Promise<Responders> {
  const connected = new Set<Connected>()
  let setup: ResponderSetup | undefined
  const said = createBoundedLog(log, clock, maxReportsPerMinute)
  const onError = createSeldomLog('answers cannot be looked up', log, clock)

  function accept(socket: Parameters<typeof answerQuestions>[0]): void {
    // The oldest goes: a newcomer may be the one that was started again.
    if (connected.size >= maxConnections) [...connected][0]?.answering.close()
    let why = 'it closed the connection'
    const onBroken = (reason: string) => {
      why = reason
    }
    const answer = (ask: string, content: JsonObject) => answerOne(one, ask, content)
    const answering = answerQuestions(socket, { answer, maxLineBytes: maxQuestionBytes, maxPending, onBroken })
    const one: Connected = { answering, addresses: {} }
    connected.add(one)
    said.info('a responder has come', { socket: path })
    if (setup !== undefined) answering.tell('setup', formatSetup(setup))
    void answering.closed.then(() => {
      connected.delete(one)
      if (!signal.aborted) said.warn('a responder has gone', { socket: path, why, left: connected.size })
    })
  }

  async function answerOne(one: Connected, ask: string, content: JsonObject): Promise<JsonObject> {
    if (ask === 'listening') {
      one.addresses = parseAddresses(content.addresses)
      said.info('the responder answers', { addresses: one.addresses })
      return {}
    }
    if (ask === 'trouble') {
      said.error('the responder cannot', { why: requireString(content, 'why').slice(0, maxReportLength) })
      return {}
    }
    const asked = askNarrowly(answers, ask, content)
    if (asked === undefined) throw new Error('there is no such question')
    return asked.catch((error: unknown) => {
      onError(error)
      throw new Error('the answers cannot be looked up now')
    })
  }

  /** Nobody answers validators as long as none is there. */
  async function warnWhenAlone(): Promise<void> {
    await clock.sleep(firstWaitMs, signal)
    const isWanted = Object.values(setup?.addresses ?? {}).some(({ length }) => length > 0)
    if (connected.size === 0 && isWanted)
      log.warn('no responder has come: nobody answers validations; start "acmems responder"', { socket: path })
  }

  const door = await listenOnSocket({ place: path, mode: 0o660, gid: undefined, name: 'server' }, ownRights(), accept)
  warnWhenAlone().catch(() => undefined)
  return {
    get addresses() {
      return mergeAddresses([...connected].map(({ addresses }) => addresses))
    },
    async change(next) {
      setup = next
      for (const { answering } of connected) answering.tell('setup', formatSetup(next))
    },
    async answering(type) {
      const untilMs = clock.monotonicMs() + longestWaitMs
      while (![...connected].some(({ addresses }) => (addresses[type] ?? []).length > 0)) {
        if (clock.monotonicMs() > untilMs)
          throw new ProblemError('serverInternal', 'nobody answers validations now: acmems responder is away', {
            retry: { when: 'backoff' },
          })
        await clock.sleep(lookMs, signal)
      }
    },
    async close() {
      const closed = door[Symbol.asyncDispose]()
      for (const { answering } of connected) answering.close()
      await closed
    },
  }
}
