import { ProblemError } from '../../acme/problem.ts'
import { quoteTxt, unquoteTxt } from './zone-walk.ts'

/** A set of TXT values that can only be read and replaced as a whole; as the provider writes them, which need not be our way. */
export type ValueSet = {
  read(): Promise<readonly string[]>
  /** Empty: the set is deleted. */
  replace(values: readonly string[]): Promise<void>
}

const mostTries = 4

/**
 * Adds or removes one value and keeps the others. Looked at again afterwards: who wrote at the same moment, on another
 * machine, may have overwritten it. The caller sees to it that we are not our own rival.
 */
export async function changeValueSet(set: ValueSet, action: 'add' | 'remove', value: string): Promise<void> {
  const wanted = action === 'add'
  const isOurs = (content: string) => unquoteTxt(content) === value
  for (let tries = 0; tries < mostTries; tries++) {
    const values = await set.read()
    if (values.some(isOurs) === wanted) return
    await set.replace(wanted ? [...values, quoteTxt(value)] : values.filter((other) => !isOurs(other)))
  }
  if ((await set.read()).some(isOurs) === wanted) return
  throw new ProblemError('dns', `somebody else keeps changing the same records back (${mostTries} tries)`, {
    retry: { when: 'backoff' },
  })
}
