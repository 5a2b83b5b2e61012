import type { ChallengeType } from './acme/challenge.ts'
import type { ChallengeSolver, ResponderZone } from './plugin-api.ts'

/** Where validators are answered, by the challenge that is answered there. */
export type ResponderAddresses = Readonly<Partial<Record<ChallengeType, readonly string[]>>>

/** What a responder is to do. */
export type ResponderSetup = {
  readonly addresses: ResponderAddresses
  /** What DNS has authority for. */
  readonly zones: readonly ResponderZone[]
}

/** What answers the CA's questions about names. */
export interface Responders {
  /** Where it listens, with the ports really taken. */
  readonly addresses: ResponderAddresses
  /** @throws Error when an address cannot be had; everything is then as before */
  change(setup: ResponderSetup): Promise<void>
  /** Waits until validations of this kind are answered. @throws ProblemError when nobody comes who does */
  answering(type: ChallengeType): Promise<void>
  close(): Promise<void>
}

/** Of one that listens here: no answer is put before nobody. */
export function awaitResponder(solver: ChallengeSolver, answering: Responders['answering']): ChallengeSolver {
  if ((solver.responderListeners ?? []).length === 0) return solver
  return {
    ...solver,
    async present(task, context) {
      await answering(solver.type)
      await solver.present(task, context)
    },
  }
}

/** Which addresses the solvers want, each once. */
export function responderAddressesOf(solvers: Iterable<ChallengeSolver>): ResponderAddresses {
  return mergeAddresses([...solvers].map(({ type, responderListeners = [] }) => ({ [type]: responderListeners })))
}

/** Those of all, each once. */
export function mergeAddresses(all: readonly ResponderAddresses[]): ResponderAddresses {
  const merged: Partial<Record<ChallengeType, readonly string[]>> = {}
  for (const one of all)
    for (const [type, addresses] of Object.entries(one) as [ChallengeType, readonly string[]][])
      merged[type] = [...new Set([...(merged[type] ?? []), ...addresses])]
  return merged
}

/** Which other responders the solvers name, each once. */
export function responderRelaysOf(solvers: Iterable<ChallengeSolver>): readonly string[] {
  return [...new Set([...solvers].flatMap(({ responderRelays = [] }) => responderRelays))]
}

export function responderZonesOf(solvers: Iterable<ChallengeSolver>): readonly ResponderZone[] {
  return [...solvers].flatMap(({ responderZone }) => (responderZone === undefined ? [] : [responderZone]))
}
