import type { CapabilityName } from './capability.ts'
import { findFlaws } from './confinement.ts'
import { installerCapabilities, type PartName } from './part.ts'
import type { ProcessLook } from './process-look.ts'

/** Something that not every part may come to. */
export type Secret = {
  readonly path: string
  readonly what: string
  /** Whose it is. */
  readonly of: readonly (PartName | 'launcher')[]
}

/** What a part could come to, if somebody else's words ran in it. */
export type Reach = { readonly pid: number; readonly reachable: readonly Secret[] }

type Promised = {
  readonly isRoot: boolean
  readonly capabilities: readonly CapabilityName[]
  readonly network: boolean
}

const promises: Readonly<Record<PartName, Promised>> = {
  accountd: { isRoot: false, capabilities: [], network: false },
  responder: { isRoot: false, capabilities: [], network: true },
  server: { isRoot: false, capabilities: ['net_bind_service'], network: true },
  installer: { isRoot: true, capabilities: installerCapabilities, network: false },
  firewall: { isRoot: true, capabilities: ['net_admin', 'net_raw'], network: false },
}

/** What a part is or can, and was not to be or to be able to; empty when its promises hold. */
export function findBroken(look: ProcessLook, looks: readonly ProcessLook[], reach: Reach | undefined): string[] {
  // It starts the others, with the rights that it gives them.
  if (look.part === 'launcher') return []
  const { isRoot, capabilities, network } = promises[look.part]
  const [uid = -1] = look.standing.uids
  const [gid = -1] = look.standing.gids
  const broken: string[] = []
  if (uid === 0 && !isRoot) broken.push('it is root')
  const most = capabilities.filter((name) => look.standing.capabilities.bounding.includes(name))
  broken.push(
    ...findFlaws(look.standing, { uid, gid, capabilities: most }).filter((flaw) => !isExcused(flaw, look, most)),
  )
  const twin = looks.find(
    (other) => other.pid !== look.pid && other.part !== look.part && other.standing.uids[0] === uid,
  )
  if (twin !== undefined && uid !== 0)
    broken.push(`it is the same user as ${twin.part} (${twin.pid}): neither is safe from the other`)
  if (!network)
    for (const { what, socket } of look.descriptors)
      if (socket !== undefined && socket.transport !== 'unix') broken.push(`it is on the network: ${what}`)
  if (uid !== 0)
    for (const { path, what, of } of reach?.reachable ?? [])
      if (!of.includes(look.part)) broken.push(`it could come to ${what}: ${path}`)
  return broken
}

/** What groups it is in decides only what it could come to. systemd gives a server the one capability for its ports that way. */
function isExcused(flaw: string, { standing }: ProcessLook, allowed: readonly CapabilityName[]): boolean {
  const { ambient, inheritable } = standing.capabilities
  const isOfPorts = [...ambient, ...inheritable].every((name) => name === 'net_bind_service' && allowed.includes(name))
  return /^it is in the groups/.test(flaw) || (/^it has (ambient|inheritable) capabilities/.test(flaw) && isOfPorts)
}
