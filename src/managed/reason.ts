import { asProblemError, ProblemError } from '../acme/problem.ts'
import type { HeldRequest, Holding } from './holding.ts'

/** What hosts are not told: the machine is ours, and so is what is wrong with it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof ProblemError)) return error instanceof Error ? error.message : asProblemError(error).message
  // What nobody understood is wrapped in words for strangers.
  return /^internal error/.test(error.message) && error.cause instanceof Error ? error.cause.message : error.message
}

/** @throws ProblemError that says what this machine lacks */
export async function beginAloud(holding: Holding): Promise<HeldRequest> {
  return await holding.begin().catch((cause: unknown) => {
    // Whoever makes the key is away, and that says when to come back.
    if (cause instanceof ProblemError && cause.retry.when === 'notBefore') throw cause
    throw new ProblemError('serverInternal', reasonOf(cause), { retry: { when: 'backoff' }, cause })
  })
}
