import type { Confinement } from './confinement.ts'
import type { SocketWish } from './opened-sockets.ts'

/** As the units have it: what is installed belongs to others, and hooks send signals to their servers. */
export const installerCapabilities = ['chown', 'dac_override', 'fowner', 'kill'] as const

export type PartName = 'accountd' | 'installer' | 'firewall' | 'responder' | 'server'

/** A process to be started, with all that it gets. */
export type Part = {
  readonly name: PartName
  /** The program's file, and its arguments. */
  readonly script: string
  readonly args: readonly string[]
  readonly confinement: Confinement
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>
  /** Opened for it. */
  readonly sockets: readonly SocketWish[]
  /** There once it can be asked. */
  readonly socketPath?: string
  /** A changed configuration is news for it. */
  readonly reloads: boolean
}
