// A year of a fleet in seconds. The CA counts for itself, and its limits are Let's Encrypt's.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runFleet } from './fleets.ts'
import type { FleetReport, GroupReport } from './tally.ts'

const hourMs = 3_600_000
/** Eight at once, each some five seconds: more cannot be begun in an hour, whatever is due. */
const mostAtOnceInAnHour = 8 * (3600 / 4)

function groupOf(report: FleetReport, name: GroupReport['name']): GroupReport {
  const group = report.groups.find((one) => one.name === name)
  assert.ok(group !== undefined)
  return group
}

function violationsOf(report: FleetReport): number {
  return report.cas.reduce(
    (sum, { violations }) => sum + violations.orders + violations.domain + violations.sameNames,
    0,
  )
}

/** The most orders of an hour between two days. */
function mostBetween({ ordersByHour }: FleetReport, fromDay: number, untilDay: number): number {
  return Math.max(...ordersByHour.subarray(fromDay * 24, untilDay * 24))
}

test('a year: 10,000 certificates of 45 days and 1,000 short-lived ones, outages of 1, 3 and 10 days, a mass revocation', (t) => {
  const began = process.cpuUsage()
  const report = runFleet({
    days: 365,
    ordinary: 10_000,
    shortLived: 1000,
    fallback: true,
    // The first orders took five days, so the fleet renews in a throng every 30: two of the outages are laid on one.
    outages: [
      { day: 61, days: 1 },
      { day: 122, days: 3 },
      { day: 177, days: 10 },
    ],
    revocationDay: 300,
  })
  const seconds = process.cpuUsage(began).user / 1e6
  const [ordinary, shortLived] = [groupOf(report, '45 days'), groupOf(report, 'short-lived')]
  const [first, second] = report.cas
  assert.ok(first !== undefined && second !== undefined)
  assert.equal(ordinary.expired, 0)
  assert.equal(shortLived.expired, 0)
  assert.equal(violationsOf(report), 0, JSON.stringify(report.cas))

  // Nobody renews more often than he must: every 30 days, and every 80 hours; with the outages a little more or less.
  const perYear = (group: GroupReport) => group.renewed / group.count
  assert.ok(perYear(ordinary) > 10 && perYear(ordinary) < 12.5, `${perYear(ordinary)} renewals a year`)
  assert.ok(perYear(shortLived) > 105 && perYear(shortLived) < 115, `${perYear(shortLived)} renewals a year`)
  assert.ok(ordinary.leastLeftHours > 4 * 24, `${ordinary.leastLeftHours} h`)
  assert.ok(shortLived.leastLeftHours > 24, `${shortLived.leastLeftHours} h`)
  assert.ok(shortLived.renewedElsewhere > 1000, 'the outages of 3 and 10 days were outlasted by the other CA')

  // A twentieth was taken back and replaced while it would still have been good.
  assert.ok(ordinary.revokedReplaced > 400 && shortLived.revokedReplaced > 30)
  assert.ok(mostBetween(report, 300, 303) < 300, 'they are found one by one, at the next question')

  // The hour after ten days without the CA, and the same throng a cycle later.
  assert.ok(report.mostOrdersInAnHour <= mostAtOnceInAnHour, `${report.mostOrdersInAnHour} orders in an hour`)
  assert.ok(mostBetween(report, 213, 222) < 1000, 'those that were renewed together do not stay together')

  const issued = ordinary.issued + shortLived.issued
  const pollsADay = (first.polls + second.polls) / 11_000 / 365
  const ordersPerCertificate = (first.orders + second.orders) / issued
  assert.ok(pollsADay > 3.5 && pollsADay < 4.5, `${pollsADay} questions a day`)
  assert.ok(ordersPerCertificate < 1.01, `${ordersPerCertificate} orders for a certificate`)
  t.diagnostic(
    [
      `processor ${seconds.toFixed(1)} s`,
      `certificates ${issued}`,
      `expired 0, refused by a limit 0`,
      `new-order requests for a certificate ${ordersPerCertificate.toFixed(4)}`,
      `attempts at a CA that was away ${first.ordersWhileAway}`,
      `renewal-info questions a certificate and day ${pollsADay.toFixed(2)}, asked while it was away ${first.pollsWhileAway}`,
      `renewed at the fallback ${shortLived.renewedElsewhere}`,
      `least left: ${ordinary.leastLeftHours.toFixed(1)} h of 45 days, ${shortLived.leastLeftHours.toFixed(1)} h of 160 h`,
      `most orders in an hour ${report.mostOrdersInAnHour} (day ${report.mostOrdersOnDay}), a cycle later ${mostBetween(report, 213, 222)}`,
      `orders inside the CA's window ${((100 * first.ordersInWindow) / first.orders).toFixed(1)} %`,
    ].join('; '),
  )
})

test('what short-lived certificates outlast without a fallback', async (t) => {
  const outlast = (lifetimeMs: number, days: number) =>
    groupOf(
      runFleet({
        days: 25,
        ordinary: 0,
        shortLived: 1000,
        shortLivedMs: lifetimeMs,
        outages: [{ day: 8, days }],
        start: 'preloaded',
      }),
      'short-lived',
    )
  await t.test("Let's Encrypt's 160 hours: a day and three days", (t) => {
    for (const days of [1, 3]) {
      const group = outlast(160 * hourMs, days)
      assert.equal(group.expired, 0, `${days} days: ${JSON.stringify(group)}`)
      t.diagnostic(`${days} days: at least ${group.leastLeftHours.toFixed(1)} h were left`)
    }
  })
  await t.test('exactly six days: not quite three, because the window reaches beyond the half', (t) => {
    const group = outlast(144 * hourMs, 3)
    // 72 h are left at the half; the window ends 1.44 h later, and the CA is tried every half hour.
    assert.ok(group.expired > 0 && group.expired < 20, JSON.stringify(group))
    assert.ok(group.longestGapHours < 1.44 + 0.6, `${group.longestGapHours} h`)
    t.diagnostic(`${group.expired} of 1,000 were ${group.longestGapHours.toFixed(1)} h late at the most`)
  })
  await t.test('ten days: none, whatever is done', () => {
    assert.equal(outlast(160 * hourMs, 10).expired, 1000)
  })
})

test('5,000 certificates due at once: no stampede, and no second one a cycle later', (t) => {
  // Their windows fall into a week without the CA: afterwards what exempts them is only that the names are the same.
  const report = runFleet({ days: 70, ordinary: 5000, shortLived: 0, outages: [{ day: 29, days: 7 }], seed: 2 })
  const group = groupOf(report, '45 days')
  assert.equal(group.expired, 0)
  assert.equal(violationsOf(report), 0)
  // One or the other that began at the end of its window comes after it.
  const outside = report.cas[0]?.ordersOfSameNames ?? 0
  assert.ok(outside >= 5000 && outside < 5010, String(outside))
  assert.ok(report.mostOrdersInAnHour <= mostAtOnceInAnHour)
  const cycleLater = mostBetween(report, 60, 70)
  assert.ok(cycleLater < report.mostOrdersInAnHour / 4, `${cycleLater} orders in an hour`)
  t.diagnostic(`most orders in an hour ${report.mostOrdersInAnHour}, a cycle later ${cycleLater}`)
})

test('the CA that is simulated does refuse', () => {
  // Without it the noughts above would mean nothing: here 200 names of one registered domain ask within the hour.
  const asked = { days: 1, ordinary: 200, shortLived: 0, firstOrderEveryMs: 10_000 }
  const held = groupOf(runFleet(asked), '45 days')
  assert.ok(held.held === 0 && held.issued === 200, 'four domains of 50')
  const blind = runFleet({ ...asked, namesPerDomain: 200, limits: {} })
  assert.ok(violationsOf(blind) > 100, JSON.stringify(blind.cas))
  const counting = runFleet({ ...asked, namesPerDomain: 200 })
  assert.ok(groupOf(counting, '45 days').held > 100)
  assert.ok(groupOf(counting, '45 days').issued <= 50 + 8)
})
