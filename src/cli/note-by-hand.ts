import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { platformSettings } from '../config/environment.ts'
import type { AuditEvent } from '../state/audit-events.ts'
import { openState, type State } from '../state/state.ts'
import { hasState } from './open-installation.ts'

/**
 * Written to the audit log by the command that did it, with who was at the keyboard. It is done already: a log that
 * cannot be written is said, and no failure.
 */
export async function noteByHand(
  { audit }: Pick<State, 'audit'>,
  kind: string,
  names: readonly string[],
  facts: AuditEvent['facts'],
): Promise<void> {
  const by = userInfo().username
  const event = { atMs: Date.now(), kind, names, block: undefined, remoteAddress: undefined, facts: { ...facts, by } }
  try {
    await audit.add([event])
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    process.stderr.write(`acmems: this could not be written to the audit log: ${reason}\n`)
  }
}

/** The same for a command that needs no state: where there is none, there is nothing to write to. */
export async function noteWhereStateIs(config: Config, kind: string, facts: AuditEvent['facts']): Promise<void> {
  const stateUrl = config.stateUrl ?? `sqlite:${join(platformSettings().stateFolder, 'state.db')}`
  if (!hasState(stateUrl)) return
  await using state = await openState(stateUrl, () => Date.now())
  await noteByHand(state, kind, [], facts)
}
