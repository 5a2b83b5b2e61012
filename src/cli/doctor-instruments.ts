import type { Config } from '../config/config.ts'
import type { PluginContext } from '../plugin-api.ts'
import type { Desk } from './open-installation.ts'

/** What the doctor looks with. */
export type Instruments = {
  readonly config: Config
  readonly context: PluginContext
  /** Absent where no server has ever run. */
  readonly desk: Desk | undefined
  /** Answers as the public DNS does. */
  readonly resolver: string | undefined
  /** Answers as this network's DNS does; the machine's own otherwise. */
  readonly privateResolver: string | undefined
  /** May a verification that changes DNS do so? */
  readonly mayWrite: boolean
}

/** How a name is proven: what the sections that cover it say. */
export type Way = {
  /** `[auth]` and `[certificate]`, as they are written. */
  readonly sections: readonly string[]
  readonly issuer: string
  readonly verification: string | undefined
}
