import { findFlaws, parseConfinement } from './confinement.ts'
import { ownStanding } from './standing.ts'

/**
 * Looks whether this process is what whoever started it promised: nothing runs with more.
 * @param text `UID:GID:CAPABILITIES`
 * @throws Error saying what it is instead
 */
export function proveDrop(text: string): void {
  const flaws = findFlaws(ownStanding(), parseConfinement(text))
  if (flaws.length > 0) throw new Error(`privileges were not given up: ${flaws.join('; ')}`)
}
