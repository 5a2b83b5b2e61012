import type { CaCertificate, CaCounts } from './ca.ts'
import type { FleetGroup } from './members.ts'

const hourMs = 3_600_000

export type GroupReport = {
  readonly name: string
  readonly count: number
  /** First certificates and renewals. */
  issued: number
  renewed: number
  /** By another CA than the first. */
  renewedElsewhere: number
  /** Whose end came before the next one, or before the end of the simulation. */
  expired: number
  /** How long the worst of them was without. */
  longestGapHours: number
  /** The least that was left of a certificate when the next one came. */
  leastLeftHours: number
  /** What the ledger held back. */
  held: number
  /** Certificates that the CA took back and that were replaced while they were still good; the longest time it took. */
  revokedReplaced: number
}

export type FleetReport = {
  readonly days: number
  readonly groups: readonly GroupReport[]
  readonly cas: readonly CaCounts[]
  /** Orders sent, of the hour with the most, the first issue included; and where that hour was. */
  readonly mostOrdersInAnHour: number
  readonly mostOrdersOnDay: number
  /** The highest number of certificates that were to be looked at, and waited. */
  readonly longestBacklog: number
  readonly ordersByHour: Uint32Array
}

export type Tally = {
  held(group: FleetGroup): void
  order(nowMs: number): void
  backlog(size: number, nowMs: number): void
  issued(group: FleetGroup, ca: number, former: CaCertificate | undefined, wasRevoked: boolean, nowMs: number): void
  atEnd(group: FleetGroup, certificate: CaCertificate | undefined, endMs: number): void
  report(cas: readonly CaCounts[]): FleetReport
}

export function createTally(startMs: number, days: number, groups: readonly FleetGroup[]): Tally {
  const ordersByHour = new Uint32Array(days * 24 + 1)
  let longestBacklog = 0
  const reports = new Map<FleetGroup, GroupReport>(groups.map((group) => [group, emptyReport(group)]))
  const of = (group: FleetGroup) => reports.get(group) ?? emptyReport(group)

  function end(report: GroupReport, { notAfterMs }: CaCertificate, atMs: number): void {
    const leftHours = (notAfterMs - atMs) / hourMs
    if (leftHours >= 0) return
    report.expired += 1
    report.longestGapHours = Math.max(report.longestGapHours, -leftHours)
  }

  return {
    held: (group) => {
      of(group).held += 1
    },
    order: (nowMs) => {
      const hour = Math.floor((nowMs - startMs) / hourMs)
      ordersByHour[hour] = (ordersByHour[hour] ?? 0) + 1
    },
    backlog: (size) => {
      longestBacklog = Math.max(longestBacklog, size)
    },
    issued(group, ca, former, wasRevoked, nowMs) {
      const report = of(group)
      report.issued += 1
      if (former === undefined) return
      report.renewed += 1
      if (ca !== group.cas[0]) report.renewedElsewhere += 1
      if (wasRevoked) report.revokedReplaced += 1
      report.leastLeftHours = Math.min(report.leastLeftHours, (former.notAfterMs - nowMs) / hourMs)
      end(report, former, nowMs)
    },
    atEnd(group, certificate, endMs) {
      // Who never got one is missing, too.
      if (certificate === undefined) of(group).expired += 1
      else end(of(group), certificate, endMs)
    },
    report(cas) {
      const mostOrdersInAnHour = ordersByHour.reduce((most, one) => Math.max(most, one), 0)
      return {
        days,
        groups: [...reports.values()],
        cas,
        mostOrdersInAnHour,
        mostOrdersOnDay: Math.floor(ordersByHour.indexOf(mostOrdersInAnHour) / 24),
        longestBacklog,
        ordersByHour,
      }
    },
  }
}

function emptyReport({ name, count }: FleetGroup): GroupReport {
  return {
    name,
    count,
    issued: 0,
    renewed: 0,
    renewedElsewhere: 0,
    expired: 0,
    longestGapHours: 0,
    leastLeftHours: Infinity,
    held: 0,
    revokedReplaced: 0,
  }
}
