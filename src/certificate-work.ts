import type { Installation } from './installation.ts'
import { createAbandonment } from './issuance/abandonment.ts'
import { createIssuance, type Issuance } from './issuance/issue.ts'
import { createRenewals, type Renewals } from './issuance/renewals.ts'
import { createUpkeep, type Managed, type Upkeep } from './managed/upkeep.ts'
import type { IssuanceEvent } from './plugin-api.ts'
import type { Runtime } from './runtime.ts'

export type CertificateWorkParts = Pick<Installation, 'state' | 'context' | 'holder'> & {
  readonly issuance: Issuance
  /** Today's configuration. */
  readonly runtime: () => Runtime
  readonly managed: () => readonly Managed[]
  readonly tell: (event: IssuanceEvent) => void
  readonly progress?: (name: string, text: string) => void
}

/** What orders, for the server and for a command that does it alone. */
export function createIssuanceOver({ state, context, holder }: Installation): Issuance {
  return createIssuance({
    orders: state.orders,
    register: state.register,
    outages: state.outages,
    blockedKeys: { has: (publicKeyHash) => state.register.isKeyBlocked(publicKeyHash) },
    holder,
    context,
    aliasOf: state.aliases.of,
    repeat,
  })
}

/** What renews and keeps up: the timer for everything in the register, and who has the keys of managed certificates. */
export function createCertificateWork(parts: CertificateWorkParts): { renewals: Renewals; upkeep: Upkeep } {
  const { state, context, holder, issuance, runtime, tell } = parts
  const upkeep = createUpkeep({
    issuance,
    context,
    certificates: parts.managed,
    requestOf: (stored) => runtime().requestOf(stored),
    tell,
    ...(parts.progress === undefined ? {} : { progress: parts.progress }),
  })
  const renewals = createRenewals({
    issuance,
    register: state.register,
    orders: state.orders,
    context,
    requestOf: (stored) => runtime().requestOf(stored),
    successorOf: upkeep.successorOf,
    succeeded: ({ block }) => upkeep.wake(block),
    abandon: createAbandonment({
      orders: state.orders,
      holder,
      context,
      aliasOf: state.aliases.of,
      issuers: () => [...runtime().issuers.values()],
      solvers: () => [...runtime().solvers.values()],
    }),
    tell,
  })
  return { renewals, upkeep }
}

export function repeat(everyMs: number, act: () => void): Disposable {
  const timer = setInterval(act, everyMs)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
