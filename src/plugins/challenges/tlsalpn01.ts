import type { AnswerRecord } from '../../acme/answer-record.ts'
import { ProblemError } from '../../acme/problem.ts'
import type { AnswerRecords, ChallengeTask, Option, Plugin, PluginContext } from '../../plugin-api.ts'
import { checkTlsAlpn } from '../../self-check/tls-alpn-check.ts'
import { parseTcpListener } from '../option-values.ts'
import { placeFinderOf, selfCheckOptions } from './self-check-options.ts'

const options = {
  listener: {
    meaning: "where validators' TLS connections arrive, mostly by way of what has port 443; empty for none",
    type: 'listener',
    list: true,
    default: '0.0.0.0:13443 [::]:13443',
    parse: parseTcpListener,
  },
  ...selfCheckOptions,
} as const satisfies Record<string, Option<unknown>>

const answerLifetimeMs = 24 * 3_600_000
const turnPollMs = 250
/** Longer than a validation takes, shorter than a caller waits. */
const [shortestWaitMs, longestWaitMs] = [30_000, 60_000]

/** `type = tlsalpn01` (RFC 8737): the answer is a record; the responder makes the certificate. */
export const tlsAlpn01Solver: Plugin<'solver', typeof options> = {
  kind: 'solver',
  name: 'tlsalpn01',
  meaning: 'prove names by a TLS certificate (RFC 8737), answered by our own responder',
  options,
  async create(options, { answers, clock }) {
    const findPlaces = placeFinderOf(options, 443, clock)
    return {
      type: 'tls-alpn-01',
      responderListeners: options.listener,
      async present(task, { clock }) {
        // Presented again after a restart it keeps its place: the CA may be looking right now.
        const shown = await answers.shown({ type: 'tls-alpn-01', host: task.identifier.value })
        if (shown !== task.keyAuthorization) await answers.put(answerOf(task, clock.nowMs()))
      },
      waitUntilVisible: (task, context) => waitForTurn(task, answers, context),
      ...(findPlaces && { check: (task, { signal }) => checkTlsAlpn(task, findPlaces, signal) }),
      cleanUp: (task, { clock }) => answers.remove(answerOf(task, clock.nowMs())),
    }
  },
}

/** Its end says when it came: who came first is shown first. */
function answerOf({ challenge, identifier, keyAuthorization }: ChallengeTask, nowMs: number): AnswerRecord {
  const expiresAtMs = nowMs + answerLifetimeMs
  return { type: 'tls-alpn-01', token: challenge.token, host: identifier.value, keyAuthorization, expiresAtMs }
}

/**
 * A validator does not say which order it asks for, and is shown one certificate: two orders for one name take turns.
 * Two that have several names in common may wait for each other; that ends with the one that is less patient.
 */
async function waitForTurn(
  { identifier, keyAuthorization }: ChallengeTask,
  answers: AnswerRecords,
  context: PluginContext,
): Promise<void> {
  const { clock, signal } = context
  const patienceMs = shortestWaitMs + ((longestWaitMs - shortestWaitMs) * (context.randomBytes(1)[0] ?? 0)) / 255
  const deadlineMs = clock.monotonicMs() + patienceMs
  while ((await answers.shown({ type: 'tls-alpn-01', host: identifier.value })) !== keyAuthorization) {
    if (clock.monotonicMs() > deadlineMs) {
      throw new ProblemError(
        'serverInternal',
        `another order for ${identifier.value} is being validated by tls-alpn-01, which shows one answer at a time; ask again`,
        { retry: { when: 'newOrder' } },
      )
    }
    await clock.sleep(turnPollMs, signal)
  }
}
