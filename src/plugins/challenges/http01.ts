import type { AnswerRecord } from '../../acme/answer-record.ts'
import type { ChallengeTask, Plugin } from '../../plugin-api.ts'
import { parseTcpListener } from '../option-values.ts'

const options = {
  listener: {
    meaning: "where validators' requests arrive, mostly by way of your web server; empty for none",
    type: 'listener',
    list: true,
    default: '0.0.0.0:1380 [::]:1380',
    parse: parseTcpListener,
  },
} as const

/** `type = http01` (RFC 8555 §8.3): the answer is a record; the responder, which knows nothing of us, shows it. */
export const http01Solver: Plugin<'solver', typeof options> = {
  kind: 'solver',
  name: 'http01',
  meaning: 'prove names by HTTP (RFC 8555 §8.3), answered by our own responder',
  options,
  async create({ listener }, { answers }) {
    return {
      type: 'http-01',
      responderListeners: listener,
      present: (task) => answers.put(answerOf(task)),
      cleanUp: (task) => answers.remove(answerOf(task)),
    }
  },
}

function answerOf(task: ChallengeTask): AnswerRecord {
  const { challenge, identifier, keyAuthorization, expiresAtMs } = task
  return { type: 'http-01', token: challenge.token, host: identifier.value, keyAuthorization, expiresAtMs }
}
