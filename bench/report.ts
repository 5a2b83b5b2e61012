import type { Figures } from './bench.ts'
import type { CachedSignRow } from './cached-sign.ts'
import type { AnswersRow } from './dns-answers.ts'
import type { KeyElsewhereRow } from './key-elsewhere.ts'
import type { MemoryFigures } from './memory.ts'
import type { NewCertificatesRow } from './new-certificates.ts'
import type { PlannerFigures } from './planner.ts'
import type { PollingFigures } from './polling.ts'
import type { ResponderRow } from './responder-answers.ts'
import type { StartFigures } from './start-time.ts'

/** What was to be reached; on paper for a machine with nothing else to do. */
export const aims = {
  cachedRatio: 0.5,
  cachedP99Ms: 10,
  cachedConnections: 32,
  newRatio: 0.9,
  requestsPerCertificate: 7,
  idleMb: 100,
  startMs: 500,
  /** Ten times the certificates cost at most so many times as much a certificate. */
  plannerGrowth: 4,
  takeEightMs: 20,
  responderRatio: 0.5,
} as const

export function formatFigures(figures: Figures): string {
  const { node, cpus, load, cachedSign, newCertificates, memory, start, planner, answers } = figures
  const { responder, polling, keyElsewhere } = figures
  const lines = [
    `Node.js ${node}, ${cpus} processors, load ${load.toFixed(1)} before it began; medians, in brackets the best`,
    ...(cachedSign === undefined ? [] : formatCachedSign(cachedSign)),
    ...(newCertificates === undefined ? [] : formatNewCertificates(newCertificates)),
    ...(memory === undefined ? [] : formatMemory(memory)),
    ...(start === undefined ? [] : formatStart(start)),
    ...(planner === undefined ? [] : formatPlanner(planner)),
    ...(answers === undefined ? [] : formatAnswers(answers)),
    ...(responder === undefined ? [] : formatResponder(responder)),
    ...(polling === undefined ? [] : formatPolling(polling)),
    ...(keyElsewhere === undefined ? [] : formatKeyElsewhere(keyElsewhere)),
  ]
  return `${lines.join('\n')}\n`
}

function formatKeyElsewhere(rows: readonly KeyElsewhereRow[]): string[] {
  const table = rows.map(({ parallel, medianRatio, bestRatio, ...row }) => [
    String(parallel),
    row.elsewherePerSecond.toFixed(1),
    row.inProcessPerSecond.toFixed(1),
    `${medianRatio.toFixed(2)} (${bestRatio.toFixed(2)})`,
    `${row.serverCpuMs.toFixed(1)} + ${row.accountdCpuMs.toFixed(1)} : ${row.inProcessCpuMs.toFixed(1)}`,
  ])
  const head = ['at once', 'accountd/s', 'in process/s', 'ratio', 'processor ms a certificate']
  return ['\n(h) the account key behind the socket of accountd, beside one in the server', ...formatTable(head, table)]
}

function formatCachedSign(rows: readonly CachedSignRow[]): string[] {
  const table = rows.map(({ connections, acmems, bare, medianRatio, bestRatio }) => [
    String(connections),
    acmems.requestsPerSecond.toFixed(0),
    bare.requestsPerSecond.toFixed(0),
    `${medianRatio.toFixed(2)} (${bestRatio.toFixed(2)})`,
    `${acmems.p50Ms.toFixed(2)} / ${acmems.p99Ms.toFixed(2)}`,
    `${bare.p50Ms.toFixed(2)} / ${bare.p99Ms.toFixed(2)}`,
    `${acmems.serverCpuUs.toFixed(0)} : ${bare.serverCpuUs.toFixed(0)}`,
  ])
  const row = rows.find(({ connections }) => connections === aims.cachedConnections)
  const head = ['connections', 'acmems/s', 'bare/s', 'ratio', 'acmems p50/p99 ms', 'bare p50/p99 ms', 'processor us']
  return [
    '\n(a) the certificate is there already: POST /sign, beside bare node:http',
    ...formatTable(head, table),
    judge(`ratio at ${aims.cachedConnections} >= ${aims.cachedRatio}`, (row?.medianRatio ?? 0) >= aims.cachedRatio),
    judge(
      `p99 at ${aims.cachedConnections} < ${aims.cachedP99Ms} ms`,
      (row?.acmems.p99Ms ?? Infinity) < aims.cachedP99Ms,
    ),
  ]
}

function formatNewCertificates(rows: readonly NewCertificatesRow[]): string[] {
  const table = rows.map((row) => [
    String(row.parallel),
    row.acmemsPerSecond.toFixed(1),
    row.barePerSecond.toFixed(1),
    `${row.medianRatio.toFixed(2)} (${row.bestRatio.toFixed(2)})`,
    `${row.acmemsRequests.toFixed(2)} : ${row.bareRequests.toFixed(2)}`,
    `${row.acmemsCpuMs.toFixed(1)} : ${row.bareCpuMs.toFixed(1)}`,
  ])
  const worstRatio = Math.min(...rows.map(({ medianRatio }) => medianRatio))
  const mostRequests = Math.max(...rows.map(({ acmemsRequests }) => acmemsRequests))
  return [
    '\n(b) new certificates from Pebble, beside our ACME client alone',
    ...formatTable(['at once', 'acmems/s', 'bare/s', 'ratio', 'requests to the CA', 'processor ms'], table),
    judge(`every ratio >= ${aims.newRatio}`, worstRatio >= aims.newRatio),
    judge(
      `at most ${aims.requestsPerCertificate} requests for a certificate`,
      mostRequests <= aims.requestsPerCertificate,
    ),
  ]
}

function formatMemory({ idleMb, idleAnonymousMb, requests, afterMb }: MemoryFigures): string[] {
  return [
    '\n(c) resident memory',
    `    idle ${idleMb.toFixed(0)} MiB (${idleAnonymousMb.toFixed(0)} of them its own), after ${requests} requests ${afterMb.toFixed(0)} MiB`,
    judge(`idle < ${aims.idleMb} MiB`, idleMb < aims.idleMb),
  ]
}

function formatStart({ serveMs, bestServeMs, versionMs, bestVersionMs, nodeMs }: StartFigures): string[] {
  const both = (middle: number, best: number) => `${middle.toFixed(0)} (${best.toFixed(0)}) ms`
  return [
    '\n(d) start',
    `    serve accepts after ${both(serveMs, bestServeMs)}, --version is done after ${both(versionMs, bestVersionMs)}, Node.js alone after ${nodeMs.toFixed(0)} ms`,
    judge(`serve accepts within ${aims.startMs} ms`, serveMs < aims.startMs),
  ]
}

function formatPlanner({ planner, register }: PlannerFigures): string[] {
  const perCertificate = ({ cpuMsPerDay, certificates }: (typeof planner)[number]) =>
    (cpuMsPerDay * 1000) / certificates
  const [smallest] = planner
  const fleets = planner.map((row) => [
    row.certificates.toLocaleString('en'),
    row.decisionsPerDay.toFixed(0),
    row.cpuMsPerDay.toFixed(0),
    perCertificate(row).toFixed(1),
    `x ${(smallest === undefined ? 1 : perCertificate(row) / perCertificate(smallest)).toFixed(1)}`,
    row.memoryMb.toFixed(0),
  ])
  const rows = register.map((row) => [
    row.certificates.toLocaleString('en'),
    row.fileMb.toFixed(0),
    row.takeNothingMs.toFixed(2),
    row.takeEightMs.toFixed(2),
    row.takeFromAllMs.toFixed(2),
    row.plansPerSecond.toFixed(0),
  ])
  const growths = planner.slice(1).map((row, index) => {
    const former = planner[index]
    return former === undefined ? 1 : perCertificate(row) / perCertificate(former)
  })
  return [
    '\n(e) planning renewals: a simulated day of certificates of 45 days, all decisions in memory',
    ...formatTable(['certificates', 'decisions', 'processor ms', 'us each', 'growth', 'memory MiB'], fleets),
    judge(
      `ten times as many cost <= ${aims.plannerGrowth} times as much each`,
      growths.every((one) => one <= aims.plannerGrowth),
    ),
    '    the register in SQLite: takeDue, and takeDue with savePlan',
    ...formatTable(['certificates', 'file MiB', 'none due ms', '8 due ms', 'all due ms', 'plans/s'], rows),
    judge(
      `8 due taken within ${aims.takeEightMs} ms`,
      register.every((row) => row.takeEightMs <= aims.takeEightMs),
    ),
  ]
}

function formatAnswers(rows: readonly AnswersRow[]): string[] {
  const table = rows.map(({ what, records, acmemsPerSecond, barePerSecond, medianRatio, bestRatio }) => [
    what,
    String(records),
    acmemsPerSecond.toFixed(0),
    barePerSecond.toFixed(0),
    `${medianRatio.toFixed(2)} (${bestRatio.toFixed(2)})`,
  ])
  return [
    '\n(f) answers to validators, beside a bare dgram echo and bare node:http',
    ...formatTable(['challenge', 'live records', 'acmems/s', 'bare/s', 'ratio'], table),
  ]
}

function formatResponder(rows: readonly ResponderRow[]): string[] {
  const table = rows.map(({ what, medianRatio, bestRatio, ...row }) => [
    what,
    row.separatePerSecond.toFixed(0),
    row.ownPerSecond.toFixed(0),
    `${medianRatio.toFixed(2)} (${bestRatio.toFixed(2)})`,
    `${row.separateCpuUs.toFixed(0)} : ${row.ownCpuUs.toFixed(0)}`,
  ])
  return [
    '    by "acmems responder", beside a server that answers itself',
    ...formatTable(['challenge', 'responder/s', 'server/s', 'ratio', 'processor us'], table),
    judge(
      `ratio >= ${aims.responderRatio}`,
      rows.every(({ medianRatio }) => medianRatio >= aims.responderRatio),
    ),
  ]
}

function formatPolling({ hosts, rows, nominal, memory, nonces }: PollingFigures): string[] {
  const table = rows.map(({ kind, transport, acmems, bare, medianRatio, bestRatio, cpuRatio, generatorShare }) => [
    kind,
    transport,
    acmems.requestsPerSecond.toFixed(0),
    bare.requestsPerSecond.toFixed(0),
    `${medianRatio.toFixed(2)} (${bestRatio.toFixed(2)})`,
    `${acmems.serverCpuUs.toFixed(0)} : ${bare.serverCpuUs.toFixed(0)}`,
    cpuRatio.toFixed(1),
    generatorShare.toFixed(2),
  ])
  const head = ['asks', 'connection', 'acmems/s', 'bare/s', 'ratio', 'processor us', 'ratio', 'generator busy']
  const latency = ({ p50Ms, p99Ms }: typeof nominal.acmems) => `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)} ms`
  const share = (part: number) => `${(100 * part).toFixed(1)} %`
  return [
    `\n(g) ${hosts.toLocaleString('en')} hosts that poll over TLS, beside bare node:https; at full speed`,
    ...formatTable(head, table),
    `    all of it mixed, a handshake for every request, ${nominal.perSecond.toFixed(0)} a second for ${nominal.seconds} s:`,
    `      p50 / p99 ${latency(nominal.acmems)}, bare ${latency(nominal.bare)}; of a processor ${share(nominal.acmemsShare)}, bare ${share(nominal.bareShare)}`,
    `    resident memory: idle ${memory.idleMb.toFixed(0)} MiB, after all have asked in every way ${memory.afterMb.toFixed(0)} MiB, at the end ${memory.endMb.toFixed(0)} MiB`,
    `    ${nonces.requests.toLocaleString('en')} signed requests, those of ${nonces.minutes} minutes: ${nonces.rows.toLocaleString('en')} nonces remembered; the state grew by ${nonces.grownMb.toFixed(0)} to ${nonces.stateMb.toFixed(0)} MiB; processor us for a request ${nonces.firstCpuUs.toFixed(0)} at first, ${nonces.lastCpuUs.toFixed(0)} at last`,
  ]
}

function judge(aim: string, isMet: boolean): string {
  return `    aim: ${aim}: ${isMet ? 'met' : 'NOT MET'}`
}

function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  return [head, ...rows].map((row) => `    ${row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join('  ')}`)
}
