import type { CapabilityName } from './capability.ts'
import type { CapabilitySet, Standing } from './standing.ts'

/** What a part of the server may be. */
export type Confinement = {
  readonly uid: number
  readonly gid: number
  /** Of a part that stays root; everybody else has none. */
  readonly capabilities: readonly CapabilityName[]
}

/** For setpriv(1), which gives up what is not in it and then runs the program after them. */
export function setprivArguments({ uid, gid, capabilities }: Confinement): string[] {
  return [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    '--no-new-privs',
    '--inh-caps=-all',
    '--ambient-caps=-all',
    boundingSetArgument(capabilities),
    // Who started it is gone: it ends in order.
    '--pdeathsig=TERM',
    '--',
  ]
}

/** These, and no others. */
export function boundingSetArgument(capabilities: readonly CapabilityName[]): string {
  return `--bounding-set=${['-all', ...capabilities.map((name) => `+${name}`)].join(',')}`
}

/** What is otherwise than it was to be; empty when all is well. */
export function findFlaws(standing: Standing, { uid, gid, capabilities }: Confinement): string[] {
  const flaws: string[] = []
  if (standing.uids.length !== 4 || standing.uids.some((id) => id !== uid))
    flaws.push(`its user is ${standing.uids.join(' ')}, not ${uid}`)
  if (standing.gids.length !== 4 || standing.gids.some((id) => id !== gid))
    flaws.push(`its group is ${standing.gids.join(' ')}, not ${gid}`)
  const others = standing.groups.filter((id) => id !== gid)
  if (others.length > 0) flaws.push(`it is in the groups ${others.join(' ')}, too`)
  for (const set of Object.keys(standing.capabilities) as CapabilitySet[]) {
    const tooMuch = standing.capabilities[set].filter((name) => !isAllowed(set, name))
    if (tooMuch.length > 0) flaws.push(`it has ${set} capabilities: ${tooMuch.join(' ')}`)
  }
  if (!standing.noNewPrivs) flaws.push('it could get new privileges (no_new_privs is not set)')
  return flaws

  function isAllowed(set: CapabilitySet, name: CapabilityName): boolean {
    return set !== 'inheritable' && set !== 'ambient' && capabilities.includes(name)
  }
}

/** `UID:GID:CAPABILITIES`, with commas between these: for the command line of a part. */
export function formatConfinement({ uid, gid, capabilities }: Confinement): string {
  return `${uid}:${gid}:${capabilities.join(',')}`
}

/** @throws Error when it is none */
export function parseConfinement(text: string): Confinement {
  const [, uid, gid, list = ''] = /^(\d+):(\d+):([a-z_0-9,]*)$/.exec(text) ?? []
  if (uid === undefined) throw new Error(`${JSON.stringify(text)} is no UID:GID:CAPABILITIES`)
  return { uid: Number(uid), gid: Number(gid), capabilities: list.split(',').filter(Boolean) as CapabilityName[] }
}
