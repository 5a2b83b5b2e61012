import type { AnswerRecord } from '../../acme/answer-record.ts'
import type { ChallengeTask, OptionValues, Plugin } from '../../plugin-api.ts'
import { checkHttp } from '../../self-check/http-check.ts'
import { parseAbsolutePath, parseTcpListener } from '../option-values.ts'
import { placeFinderOf, selfCheckOptions } from './self-check-options.ts'
import { openWebroot } from './webroot.ts'

const usualListeners = '0.0.0.0:1380 [::]:1380'

const options = {
  listener: {
    meaning: "where validators' requests arrive, mostly by way of your web server; empty, or with directory: none",
    type: 'listener',
    list: true,
    default: usualListeners,
    parse: parseTcpListener,
  },
  directory: {
    meaning: "a web server's document root, to write answers into .well-known/acme-challenge there",
    type: 'path',
    parse: parseAbsolutePath,
  },
  relay: {
    meaning: 'another acmems that may know a token that we do not, http://host:1380; asked in this order',
    type: 'URL',
    list: true,
    parse: parseRelay,
  },
  ...selfCheckOptions,
} as const

/** `type = http01` (RFC 8555 §8.3): the answer is a record; the responder, which knows nothing of us, shows it. */
export const http01Solver: Plugin<'solver', typeof options> = {
  kind: 'solver',
  name: 'http01',
  meaning: 'prove names by HTTP (RFC 8555 §8.3), answered by our own responder',
  options,
  async create(options, { answers, clock, userAgent }) {
    const findPlaces = placeFinderOf(options, 80, clock)
    const webroot = options.directory === undefined ? undefined : openWebroot(options.directory)
    return {
      type: 'http-01',
      responderListeners: listenersOf(options),
      responderRelays: options.relay,
      async present(task) {
        await webroot?.put(task.challenge.token, task.keyAuthorization)
        await answers.put(answerOf(task))
      },
      ...(findPlaces && { check: (task, { signal }) => checkHttp(task, findPlaces, userAgent, signal) }),
      async cleanUp(task) {
        await answers.remove(answerOf(task))
        await webroot?.remove(task.challenge.token, task.keyAuthorization)
      },
    }
  },
}

/** With a web server that shows the answers, there is nothing to listen for unless it was asked for. */
function listenersOf({ directory, listener }: OptionValues<typeof options>): readonly string[] {
  return directory !== undefined && listener.join(' ') === usualListeners ? [] : listener
}

function parseRelay(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'http:' || url.pathname !== '/' || url.search + url.hash + url.username !== '')
    throw new Error(`${JSON.stringify(text)} is no acmems' responder; write http://192.0.2.11:1380`)
  return url.origin
}

function answerOf(task: ChallengeTask): AnswerRecord {
  const { challenge, identifier, keyAuthorization, expiresAtMs } = task
  return { type: 'http-01', token: challenge.token, host: identifier.value, keyAuthorization, expiresAtMs }
}
