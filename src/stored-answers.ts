import type { Installation } from './installation.ts'
import type { LiveAnswers } from './responder/live-answers.ts'
import { createTokenRelay, findAlsoBy, type RelayToken } from './responder/token-relay.ts'

/** The answers in the state. */
export interface StoredLiveAnswers extends LiveAnswers {
  /** Which other responders to ask for tokens that nobody here left. */
  relayTo(relays: readonly string[]): void
}

export function createStoredAnswers({ state, context }: Pick<Installation, 'state' | 'context'>): StoredLiveAnswers {
  const { clock } = context
  let relay: RelayToken | undefined
  return {
    find: findAlsoBy(
      () => relay,
      (question) => state.answers.find(question, clock.nowMs()),
    ),
    shown: state.answers.shown,
    texts: {
      find: (owner, otherOwner) => state.answers.findTexts(owner, otherOwner, clock.nowMs()),
      hasBelow: (name, otherName) => state.answers.hasTextBelow(name, otherName, clock.nowMs()),
    },
    relayTo(relays) {
      relay = relays.length === 0 ? undefined : createTokenRelay(relays, context)
    },
  }
}
