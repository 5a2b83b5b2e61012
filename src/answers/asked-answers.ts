import { optionalString, requireStrings } from '../acme/json-object.ts'
import type { Asker } from '../channel/asker.ts'
import type { LiveAnswers } from '../responder/live-answers.ts'

const maxTexts = 10_000

/** The answers as the server tells them. Each throws when it is not there. */
export function createAskedAnswers(ask: Asker['ask']): LiveAnswers {
  return {
    find: async ({ token, host }, isRelayed) =>
      optionalString(await ask('token', { token, host, ...(isRelayed ? { relayed: true } : {}) }), 'found'),
    shown: async ({ host }) => optionalString(await ask('shown', { host }), 'found'),
    texts: {
      find: async (owner, other) => requireStrings(await ask('texts', { owner, other }), 'texts', maxTexts),
      hasBelow: async (name, other) => (await ask('below', { name, other })).is === true,
    },
  }
}
