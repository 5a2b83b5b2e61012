import type { Figures } from './bench.ts'
import type { CachedSignRow } from './cached-sign.ts'
import type { MemoryFigures } from './memory.ts'
import type { NewCertificatesRow } from './new-certificates.ts'
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
} as const

export function formatFigures(figures: Figures): string {
  const { node, cpus, load, cachedSign, newCertificates, memory, start } = figures
  const lines = [
    `Node.js ${node}, ${cpus} processors, load ${load.toFixed(1)} before it began; medians, in brackets the best`,
    ...(cachedSign === undefined ? [] : formatCachedSign(cachedSign)),
    ...(newCertificates === undefined ? [] : formatNewCertificates(newCertificates)),
    ...(memory === undefined ? [] : formatMemory(memory)),
    ...(start === undefined ? [] : formatStart(start)),
  ]
  return `${lines.join('\n')}\n`
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

function judge(aim: string, isMet: boolean): string {
  return `    aim: ${aim}: ${isMet ? 'met' : 'NOT MET'}`
}

function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  return [head, ...rows].map((row) => `    ${row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join('  ')}`)
}
