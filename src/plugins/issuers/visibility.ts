import { ProblemError } from '../../acme/problem.ts'
import type { ChallengeSolver, ChallengeTask, CheckFinding, PluginContext } from '../../plugin-api.ts'

const maxCheckMs = 5000
/** A web server in front may need a moment. */
const triesAfterMs = [0, 500, 1000, 1500]

/** Is there anything to do between presenting and telling the CA? */
export function hasLook(solver: ChallengeSolver | undefined): boolean {
  return solver?.waitUntilVisible !== undefined || solver?.check !== undefined
}

/** Waits for what the solver waits for, then looks at the answer as a validator would. @throws whatever the solver throws */
export async function lookAtAnswer(
  solver: ChallengeSolver,
  task: ChallengeTask,
  context: PluginContext,
): Promise<CheckFinding> {
  await solver.waitUntilVisible?.(task, context)
  return solver.check === undefined
    ? { outcome: 'visible' }
    : await checkUntilSure((bounded) => solver.check?.(task, bounded), context)
}

/** Only what is wrong again and again, within a bound, is wrong. */
async function checkUntilSure(
  check: (context: PluginContext) => Promise<CheckFinding> | undefined,
  context: PluginContext,
): Promise<CheckFinding> {
  const { clock, signal } = context
  const bound = AbortSignal.any([signal, AbortSignal.timeout(maxCheckMs)])
  let finding: CheckFinding = { outcome: 'unknown', reason: 'not looked at' }
  for (const afterMs of triesAfterMs) {
    try {
      if (afterMs > 0) await clock.sleep(afterMs, bound)
      const next: CheckFinding = (await check({ ...context, signal: bound })) ?? finding
      // Out of time: what was seen before counts.
      if (bound.aborted && finding.outcome === 'wrong') break
      finding = next
    } catch (error) {
      signal.throwIfAborted()
      if (finding.outcome !== 'wrong') {
        context.log.debug('an answer could not be looked at', { error })
        finding = { outcome: 'unknown', reason: 'it could not be looked at' }
      }
      break
    }
    if (finding.outcome !== 'wrong') break
  }
  signal.throwIfAborted()
  return finding
}

/**
 * What the findings mean for the order, as a note in its story.
 * @throws ProblemError `incorrectResponse` when an answer is definitely wrong: telling the CA would only cost an attempt
 */
export function judgeFindings(
  findings: readonly { readonly name: string; readonly finding: CheckFinding | undefined }[],
): string {
  const reasons = (outcome: 'wrong' | 'unknown') =>
    findings.flatMap(({ name, finding }) => (finding?.outcome === outcome ? [{ name, reason: finding.reason }] : []))
  const wrong = reasons('wrong')
  if (wrong.length > 0) {
    const words = [...new Set(wrong.map(({ reason }) => reason))].join('; ')
    throw new ProblemError(
      'incorrectResponse',
      `${words}; the CA was not told (where only this server sees it so: self-check = no)`,
      { retry: { when: 'newOrder' } },
    )
  }
  const unknown = reasons('unknown')
  if (unknown.length === 0) return 'the answers can be seen'
  const words = unknown.map(({ name, reason }) => (reason.includes(name) ? reason : `${name}: ${reason}`)).join('; ')
  return `whether the answers can be seen is not known here (${words}); the CA decides`
}
