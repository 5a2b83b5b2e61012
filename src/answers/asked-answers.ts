import { optionalString, requireStrings } from '../acme/json-object.ts'
import type { Asker } from '../channel/asker.ts'
import type { LiveAnswers } from '../responder/live-answers.ts'

const maxTexts = 10_000
/**
 * RFC 1035 §2.3.4: what is longer is no name, and has no answer. Anybody can send it (a TLS server name of 16 KiB), and
 * a question that long would end the connection that everybody's are asked by.
 */
const maxHostLength = 255

/** The answers as the server tells them. Each throws when it is not there. */
export function createAskedAnswers(ask: Asker['ask']): LiveAnswers {
  return {
    async find({ token, host }, isRelayed) {
      if (host.length > maxHostLength) return undefined
      return optionalString(await ask('token', { token, host, ...(isRelayed ? { relayed: true } : {}) }), 'found')
    },
    shown: async ({ host }) =>
      host.length > maxHostLength ? undefined : optionalString(await ask('shown', { host }), 'found'),
    texts: {
      find: async (owner, other) => requireStrings(await ask('texts', { owner, other }), 'texts', maxTexts),
      hasBelow: async (name, other) => (await ask('below', { name, other })).is === true,
    },
  }
}
