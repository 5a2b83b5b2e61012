// Every scenario there is, in the order of the fault table.
import { accounts } from './accounts.ts'
import { clockFaults } from './clock.ts'
import { fallback } from './fallback.ts'
import { invalidOrders } from './invalid-orders.ts'
import { lostReplies } from './lost-replies.ts'
import { nonces } from './nonces.ts'
import { rateLimits } from './rate-limits.ts'
import { renewalInfo } from './renewal-info.ts'
import { revocation } from './revocation.ts'
import type { Scenario } from './scenario.ts'
import { slowCa } from './slow-ca.ts'
import { stampede } from './stampede.ts'
import { stateLost } from './state-lost.ts'
import { stuckOrders } from './stuck-orders.ts'
import { twoServers } from './two-servers.ts'
import { unreachableCa } from './unreachable-ca.ts'
import { wrongCertificates } from './wrong-certificates.ts'

export const allScenarios: readonly Scenario[] = [
  ...[unreachableCa, rateLimits, nonces, slowCa, lostReplies, stuckOrders, invalidOrders, clockFaults, stateLost],
  ...[twoServers, accounts, stampede, renewalInfo, fallback, wrongCertificates, revocation],
]
  .flat()
  .toSorted((left, right) => left.row - right.row)
