import { networkInterfaces } from 'node:os'
import type { Identifier } from '../acme/identifier.ts'
import { asProblemError } from '../acme/problem.ts'
import type { Chosen } from '../config/config.ts'
import type { ChallengeSolver, ChallengeTask, CheckFinding } from '../plugin-api.ts'
import { lookAtAnswer } from '../plugins/issuers/visibility.ts'
import { createRuntime } from '../runtime.ts'
import type { Desk } from './open-installation.ts'

type Verification = Chosen<'solver' | 'dns'>

/** What a rehearsed answer looked like: as the CA gets to it, and as the server's own look before will find it. */
export type Rehearsal = {
  readonly asCa: CheckFinding
  readonly asServer?: CheckFinding
  /** Why the answer could not be taken away again. */
  readonly left?: string
}

const lifetimeMs = 60_000

/**
 * Does with an answer that no CA asked for what an order does: presents it, looks at it, takes it away.
 * @param resolver whom to ask, as text, for what the CA sees
 */
export async function rehearse(
  desk: Desk,
  verification: Verification,
  identifier: Identifier,
  resolver: string | undefined,
): Promise<Rehearsal> {
  const { context, clock, config, setupFor } = desk
  const verifications = new Map([
    ['as configured', { ...verification, name: 'as configured' }],
    ['as the CA', { ...withCaView(verification, resolver), name: 'as the CA' }],
  ])
  const nothing = { issuers: new Map(), storages: new Map(), notifications: new Map(), blocks: [] }
  await using runtime = await createRuntime({ ...config, ...nothing, verifications }, setupFor)
  const [asServer, asCa] = [runtime.solvers.get('as configured'), runtime.solvers.get('as the CA')]
  if (asServer === undefined || asCa === undefined) return { asCa: notLooked }
  const task = makeTask(asCa, identifier, clock.nowMs(), (length) => context.randomBytes(length))
  const seen = await perform(asCa, asServer, task, desk)
  try {
    await asCa.cleanUp(task, context)
    return seen
  } catch (error) {
    // What could not be presented is mostly not there, either; to take it away fails as well.
    return seen.asCa.outcome === 'wrong' ? seen : { ...seen, left: asProblemError(error).message }
  }
}

async function perform(
  asCa: ChallengeSolver,
  asServer: ChallengeSolver,
  task: ChallengeTask,
  desk: Desk,
): Promise<Rehearsal> {
  try {
    await asCa.present(task, desk.context)
    const seen = await lookAt(asCa, task, desk)
    if (seen.outcome === 'wrong' || asServer.check === undefined) return { asCa: seen }
    return { asCa: seen, asServer: await lookAt(asServer, task, desk) }
  } catch (error) {
    return { asCa: { outcome: 'wrong', reason: asProblemError(error).message } }
  }
}

const notLooked: CheckFinding = { outcome: 'unknown', reason: 'it was not looked at' }

async function lookAt(solver: ChallengeSolver, task: ChallengeTask, { context }: Desk): Promise<CheckFinding> {
  if (solver.check === undefined && solver.waitUntilVisible === undefined) return notLooked
  return await lookAtAnswer(solver, task, context)
}

/** Addresses that are not public are no danger here: the names come from who called the command. */
function withCaView(verification: Verification, resolver: string | undefined): Verification {
  const known = verification.plugin.options
  const options = { ...verification.options }
  const set = (key: string, ...texts: readonly string[]) => {
    const option = known[key]
    if (option === undefined) return
    const values = texts.map((text) => option.parse(text))
    options[key] = option.list === true ? values : values[0]
  }
  set('self-check', 'yes')
  set('self-check-network', '0.0.0.0/0', '::/0')
  if (resolver !== undefined) set('resolver', resolver)
  return { ...verification, options }
}

function makeTask(
  { type }: ChallengeSolver,
  identifier: Identifier,
  nowMs: number,
  random: (length: number) => Uint8Array,
): ChallengeTask {
  const text = () => Buffer.from(random(32)).toString('base64url')
  const token = text()
  const value = identifier.value.replace(/^\*\./, '')
  return {
    identifier: { ...identifier, value },
    wildcard: value !== identifier.value,
    challenge: { type, token, url: 'about:blank', status: 'pending' },
    keyAuthorization: `${token}.${text()}`,
    expiresAtMs: nowMs + lifetimeMs,
  }
}

/** Is it an address of this machine? */
export function isOwnAddress(address: string): boolean {
  if (address.startsWith('127.')) return true
  return Object.values(networkInterfaces()).some((list) => list?.some((one) => one.address === address) === true)
}
