import { readFileSync } from 'node:fs'
import { type CapabilityName, capabilityNames } from './capability.ts'

/** Who a process is to the kernel: `/proc/PID/status` (proc_pid_status(5)). */
export type Standing = {
  /** Real, effective, saved, and of the file system. */
  readonly uids: readonly number[]
  readonly gids: readonly number[]
  readonly groups: readonly number[]
  readonly capabilities: Readonly<Record<CapabilitySet, readonly CapabilityName[]>>
  readonly noNewPrivs: boolean
}

export type CapabilitySet = 'inheritable' | 'permitted' | 'effective' | 'bounding' | 'ambient'

const fields: Readonly<Record<CapabilitySet, string>> = {
  inheritable: 'CapInh',
  permitted: 'CapPrm',
  effective: 'CapEff',
  bounding: 'CapBnd',
  ambient: 'CapAmb',
}

/** Of this process. */
export function ownStanding(): Standing {
  return parseStanding(readFileSync('/proc/self/status', 'utf8'))
}

/** @throws Error when it is no such text */
export function parseStanding(statusText: string): Standing {
  const lines = new Map(
    statusText.split('\n').map((line): [string, string] => {
      const [name = '', value = ''] = line.split(':\t')
      return [name, value.trim()]
    }),
  )
  const field = (name: string) => {
    const value = lines.get(name)
    if (value === undefined) throw new Error(`/proc/PID/status has no ${name}`)
    return value
  }
  const numbers = (name: string) => field(name).split(/\s+/).filter(Boolean).map(Number)
  const set = (name: CapabilitySet) => capabilitiesIn(BigInt(`0x${field(fields[name])}`))
  return {
    uids: numbers('Uid'),
    gids: numbers('Gid'),
    groups: numbers('Groups'),
    capabilities: {
      inheritable: set('inheritable'),
      permitted: set('permitted'),
      effective: set('effective'),
      bounding: set('bounding'),
      ambient: set('ambient'),
    },
    noNewPrivs: field('NoNewPrivs') === '1',
  }
}

/** A bit that has no name here is shown by its number. */
function capabilitiesIn(mask: bigint): CapabilityName[] {
  const names: CapabilityName[] = []
  for (let bit = 0; mask >> BigInt(bit) > 0n; bit++)
    if (((mask >> BigInt(bit)) & 1n) === 1n) names.push(capabilityNames[bit] ?? `cap_${bit}`)
  return names
}
