import { isIPv6 } from 'node:net'
import type { PluginContext } from '../plugin-api.ts'
import type { FindAnswer } from './live-answers.ts'

/** Asks other responders for a token; undefined when none of them knows it. */
export type RelayToken = (question: { readonly token: string; readonly host: string }) => Promise<string | undefined>

export const challengePath = '/.well-known/acme-challenge/'

/** Marks a question as relayed: it is not relayed again. */
export const relayedHeader = 'acmems-relayed'

const timeoutMs = 1500
const maxBytes = 1024
/** Anybody can ask for tokens that nobody knows; what they cost others has a bound. */
const maxAtOnce = 20
/** RFC 8555 §8.1: a token has 128 bits of randomness at least. */
const shortestToken = 22

/**
 * Asks the others for what is not here. What was relayed is never relayed again: two that name each other would ask for
 * ever.
 */
export function findAlsoBy(relay: () => RelayToken | undefined, find: FindAnswer): FindAnswer {
  return async (question, isRelayed) =>
    (await find(question, isRelayed)) ?? (isRelayed ? undefined : await relay()?.(question))
}

/** @param relays `http://host:port`, asked in this order */
export function createTokenRelay(relays: readonly string[], context: PluginContext): RelayToken {
  let running = 0

  async function ask(relay: string, token: string, host: string): Promise<string | undefined> {
    const { status, body } = await context.http.request(relay + challengePath + token, {
      method: 'GET',
      headers: { host: isIPv6(host) ? `[${host}]` : host, [relayedHeader]: '1' },
      ...{ maxBytes, timeoutMs, signal: context.signal },
    })
    const answer = Buffer.from(body).toString('latin1')
    // A key authorization for this token (RFC 8555 §8.1) and nothing else is passed on.
    const isAnswer = answer.startsWith(`${token}.`) && /^[A-Za-z0-9_-]{43}$/.test(answer.slice(token.length + 1))
    return status === 200 && isAnswer ? answer : undefined
  }

  return async ({ token, host }) => {
    if (token.length < shortestToken || running >= maxAtOnce) return undefined
    running += 1
    try {
      for (const relay of relays) {
        const answer = await ask(relay, token, host).catch((error: unknown) => {
          context.log.debug('a relay could not be asked', { relay, error })
          return undefined
        })
        if (answer !== undefined) return answer
      }
      return undefined
    } finally {
      running -= 1
    }
  }
}
