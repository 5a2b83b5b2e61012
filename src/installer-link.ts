import type { JsonObject } from './acme/json-object.ts'
import { ProblemError } from './acme/problem.ts'
import { AnswerError, createAsker } from './channel/asker.ts'
import { ownRights } from './channel/permissions.ts'
import type { Config } from './config/config.ts'
import { KeyLostError } from './managed/file-holding.ts'
import type { AskInstaller } from './managed/remote-holding.ts'
import type { PluginContext } from './plugin-api.ts'
import { ChainError } from './x509/chain.ts'

/** The way to who has the keys. */
export interface InstallerLink {
  /** The one for a certificate: what fails is known by its block, to be tried again when the installer is back. */
  askFor(block: string): AskInstaller
  /** @throws ProblemError when it is not there */
  ask: AskInstaller
}

export interface LiveInstallerLink extends InstallerLink, AsyncDisposable {
  /** Keeps the connection up; tells the blocks for which it may go better now. Never rejects. */
  stay(retry: (block: string) => void): Promise<void>
}

/** Names for a hundred certificates, a request for a hundred names. */
const maxLineBytes = 1024 * 1024
/** Beside its commands: keys are made, files written; and it may be busy with others. */
const ownMs = 60_000
const shortestPauseMs = 15_000
const longestPauseMs = 5 * 60_000

/**
 * How long an answer may take: `check` and the hooks of the same certificate come before it, each with its time.
 */
function answerMsOf({ certificates }: Pick<Config, 'certificates'>): number {
  const longestSeconds = Math.max(0, ...certificates.map(({ values }) => values['hook-timeout']))
  return ownMs + 3 * 1000 * longestSeconds
}

/** @param path of the installer's socket */
export function createInstallerLink(
  path: string,
  config: Pick<Config, 'certificates'>,
  { clock, log }: Pick<PluginContext, 'clock' | 'log'>,
): LiveInstallerLink {
  const failed = new Set<string>()
  let awaySinceMs: number | undefined
  let isOver = false
  let retry: (block: string) => void = () => undefined
  const retryAll = () => {
    for (const block of failed) retry(block)
    failed.clear()
  }
  const asker = createAsker({
    path,
    who: ownRights(),
    clock,
    maxLineBytes,
    answerMs: answerMsOf(config),
    onUp() {
      if (awaySinceMs !== undefined) log.info('the installer is there again', { socket: path })
      awaySinceMs = undefined
      retryAll()
    },
    onDown(why) {
      if (isOver) return
      if (awaySinceMs === undefined) log.warn('the installer is away', { socket: path, why })
      awaySinceMs ??= clock.nowMs()
    },
    // Its configuration was read again.
    onTell: () => retryAll(),
  })

  async function ask(question: string, content: JsonObject): Promise<JsonObject> {
    try {
      return await asker.ask(question, content)
    } catch (error) {
      throw error instanceof AnswerError ? asThere(error) : asAway(error)
    }
  }

  /** Nobody knows when it is back; then it is tried at once. */
  function asAway(cause: unknown): ProblemError {
    const nowMs = clock.nowMs()
    const awayMs = awaySinceMs === undefined ? 0 : Math.max(0, nowMs - awaySinceMs)
    const atMs = nowMs + Math.min(longestPauseMs, Math.max(shortestPauseMs, awayMs))
    const why = cause instanceof Error ? cause.message : 'unknown reason'
    return new ProblemError(
      'serverInternal',
      `the installer does not answer; see whether acmems-install runs: ${why}`,
      {
        retry: { when: 'notBefore', atMs },
        cause,
      },
    )
  }

  return {
    ask,
    askFor: (block) => async (question, content) => {
      try {
        return await ask(question, content)
      } catch (error) {
        failed.add(block)
        throw error
      }
    },
    async stay(wake) {
      retry = wake
      await asker.stay()
    },
    [Symbol.asyncDispose]() {
      isOver = true
      return asker[Symbol.asyncDispose]()
    },
  }
}

/** What it says means the same here. */
function asThere({ remoteName, message }: AnswerError): Error {
  if (remoteName === 'ChainError') return new ChainError(message)
  return remoteName === 'KeyLostError' ? new KeyLostError() : new Error(`the installer: ${message}`)
}
