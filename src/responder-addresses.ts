import type { ChallengeType } from './acme/challenge.ts'
import type { ChallengeSolver, ResponderZone } from './plugin-api.ts'

/** Where validators are answered, by the challenge that is answered there. */
export type ResponderAddresses = Readonly<Partial<Record<ChallengeType, readonly string[]>>>

/** Which addresses the solvers want, each once. */
export function responderAddressesOf(solvers: Iterable<ChallengeSolver>): ResponderAddresses {
  const wanted: Partial<Record<ChallengeType, string[]>> = {}
  for (const { type, responderListeners = [] } of solvers)
    wanted[type] = [...new Set([...(wanted[type] ?? []), ...responderListeners])]
  return wanted
}

/** Which other responders the solvers name, each once. */
export function responderRelaysOf(solvers: Iterable<ChallengeSolver>): readonly string[] {
  return [...new Set([...solvers].flatMap(({ responderRelays = [] }) => responderRelays))]
}

export function responderZonesOf(solvers: Iterable<ChallengeSolver>): readonly ResponderZone[] {
  return [...solvers].flatMap(({ responderZone }) => (responderZone === undefined ? [] : [responderZone]))
}
