import type { AnswerRecord } from '../../acme/answer-record.ts'
import type { ChallengeTask, Plugin } from '../../plugin-api.ts'
import { checkHttp } from '../../self-check/http-check.ts'
import { parseTcpListener } from '../option-values.ts'
import { placeFinderOf, selfCheckOptions } from './self-check-options.ts'

const options = {
  listener: {
    meaning: "where validators' requests arrive, mostly by way of your web server; empty for none",
    type: 'listener',
    list: true,
    default: '0.0.0.0:1380 [::]:1380',
    parse: parseTcpListener,
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
    return {
      type: 'http-01',
      responderListeners: options.listener,
      present: (task) => answers.put(answerOf(task)),
      ...(findPlaces && { check: (task, { signal }) => checkHttp(task, findPlaces, userAgent, signal) }),
      cleanUp: (task) => answers.remove(answerOf(task)),
    }
  },
}

function answerOf(task: ChallengeTask): AnswerRecord {
  const { challenge, identifier, keyAuthorization, expiresAtMs } = task
  return { type: 'http-01', token: challenge.token, host: identifier.value, keyAuthorization, expiresAtMs }
}
