// One need for one certificate, and a server that is killed on its way to it.
import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Acmems, startAcmems } from '../acmems.ts'
import { certificatesOf, makeCsr, postCsr, type SignReply } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { sources } from '../program.ts'
import type { CrashWorld, Place, Verification } from './crash-world.ts'
import { failpointVariable, traceVariable } from './failpoint.ts'
import * as folders from './server-folder.ts'

export type Series = {
  readonly name: string
  readonly verification: Verification
  /** Where certificates are kept. */
  readonly storage: 'state' | 'file'
  /** A good certificate is there already and is replaced ahead of need. */
  readonly renewal: boolean
}

/** A failpoint, or so long after the host's request, from outside. */
export type Kill = { readonly point: string } | { readonly afterMs: number }

export type RunPlan = {
  readonly series: Series
  readonly authzReuse: number
  /** One server after another dies so; what comes after them lives. */
  readonly kills: readonly Kill[]
}

export type RunResult = {
  readonly plan: RunPlan
  /** Where servers really died. */
  readonly deaths: readonly string[]
  readonly certificates: number
  readonly expectedCertificates: number
  /** That the server heard of for this one need. */
  readonly orders: number
  /** Of these: the CA found nobody there when it validated, or the like. */
  readonly failedOrders: number
  /** Of these: it died before it could write down their address. */
  readonly unsavedOrders: number
  /** That the server heard of before. */
  readonly ordersBefore: number
  /** Beginnings that were of no use: see `isFindable`. */
  readonly unusedCertificates: number
  readonly recoverySeconds: number
  /** The renewal was begun anew only when the dead server's claim on it had ended. */
  readonly renewedLate: boolean
  readonly temporaryFiles: number
  readonly violations: readonly string[]
  /** Where something is wrong: what the servers and the trace say, one after another. */
  readonly evidence: string | undefined
  /** All that was passed, to be chosen from for other runs. */
  readonly points: readonly string[]
}

const failpoints = resolve(import.meta.dirname, 'failpoints.ts')
const askingForMs = 90_000
const reachingForMs = 15_000
const settlingForMs = 30_000
const betweenClaimsMs = 300

/** Runs a plan to its end, and says what was not as it should be. */
export async function runCrash(world: CrashWorld, plan: RunPlan): Promise<RunResult> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('crash')).path
  const place = await world.makePlace(plan.series.verification, plan.authzReuse)
  const run: Run = { plan, place, folder, csr: makeCsr({ names: place.names }), given: new Set(), violations: [] }
  const former = plan.series.renewal ? await prepareRenewal(run) : undefined
  if (former !== undefined && !isFindable(former.serial)) {
    const again = await runCrash(world, plan)
    const ordersBefore = again.ordersBefore + former.orders.size
    return { ...again, ordersBefore, unusedCertificates: again.unusedCertificates + 1 }
  }
  if (former !== undefined) run.former = former

  const deaths: string[] = []
  let diedAtMs = performance.now()
  for (const kill of plan.kills) {
    const death = await liveUntil(run, kill)
    diedAtMs = performance.now()
    if (death !== undefined) deaths.push(death)
  }
  let server = cleanup.use(await startServer(run))
  await askUntilGood(run, server)
  const recoverySeconds = (performance.now() - diedAtMs) / 1000
  await settle(run)
  let renewedLate = false
  if (run.former !== undefined && !isRenewed(run)) {
    // What a dead server had taken to renew is taken again when its claim has ended, a quarter of an hour later.
    renewedLate = true
    await server.stop()
    await folders.makeDue(folder)
    server = cleanup.use(await startServer(run))
    if (!(await waitUntil(() => isRenewed(run), settlingForMs))) run.violations.push('the certificate was not renewed')
  }
  await askUntilGood(run, server)
  await server.stop()
  return await judge(run, { deaths, recoverySeconds, renewedLate })
}

type Run = {
  readonly plan: RunPlan
  readonly place: Place
  readonly folder: string
  readonly csr: string
  /** The good certificate that is to be renewed. */
  former?: Former
  /** Every certificate that the host has got. */
  readonly given: Set<string>
  readonly violations: string[]
}

type Former = { readonly pem: string; readonly serial: string; readonly orders: ReadonlySet<string> }

/**
 * Pebble does not find the order of a certificate whose serial number (eight octets) begins with a zero, and answers 500
 * to its renewal (RFC 9773 §5 `replaces`); that is not what is looked at here.
 */
function isFindable(serial: string): boolean {
  return serial.length >= 16
}

async function startServer({ plan, place, folder }: Run, kill?: Kill): Promise<Acmems> {
  const storage = `storage = kept\n[storage "kept"]\ntype = file\ndirectory = ${join(folder, 'certificates')}\n`
  return await startAcmems(`${place.config}${plan.series.storage === 'file' ? storage : ''}`, {
    folder,
    program: sources,
    args: place.args,
    env: {
      NODE_OPTIONS: `--import=${failpoints}`,
      [traceVariable]: folders.traceFileOf(folder),
      ...(kill !== undefined && 'point' in kill ? { [failpointVariable]: kill.point } : {}),
    },
  })
}

/** A certificate is there, and its time has come. */
async function prepareRenewal(run: Run): Promise<Former> {
  const server = await startServer(run)
  const pem = await askUntilGood(run, server)
  await server.stop()
  const serial = folders.registeredSerial(run.folder)
  if (pem === undefined || serial === undefined) throw new Error(`no certificate to begin with: ${run.violations}`)
  await folders.makeDue(run.folder)
  const orders = folders.heardOrders(run.folder)
  // The points are counted from here, and so are the orders.
  rmSync(folders.traceFileOf(run.folder))
  return { pem, serial, orders }
}

/** A server that is killed, at its start or later. @returns where it died; undefined: it never came there */
async function liveUntil(run: Run, kill: Kill): Promise<string | undefined> {
  const { folder } = run
  const known = folders.deaths(folder).length
  const ownDeath = () => folders.deaths(folder)[known]
  let server: Acmems
  try {
    server = await startServer(run, kill)
  } catch (error) {
    if (ownDeath() === undefined) throw error
    return ownDeath()
  }
  await using _ = server
  const asking = ask(run)
  if ('afterMs' in kill) {
    await sleep(kill.afterMs)
    process.kill(server.pid, 'SIGKILL')
  }
  const reply = await asking
  const isDone = () => (run.former === undefined ? reply?.status === 200 : isRenewed(run))
  await waitUntil(() => server.hasEnded() || isDone(), reachingForMs)
  // What a server still does when it has answered may be the point.
  await waitUntil(server.hasEnded, 300)
  if (!server.hasEnded()) return undefined
  return 'point' in kill ? ownDeath() : `killed after ${Math.round(kill.afterMs)} ms`
}

/** undefined: the server died before it had answered. A host with a good certificate gets one, whatever happens. */
async function ask(run: Run): Promise<SignReply | undefined> {
  const reply = await postCsr(run.place.signUrl, run.csr).catch(() => undefined)
  if (reply?.status === 200) {
    run.given.add(reply.text)
    if (certificatesOf(reply.text).length === 0) run.violations.push('an answer without a certificate')
  } else if (reply !== undefined && run.former !== undefined) {
    run.violations.push(`the good certificate was withheld: ${reply.status} ${reply.text.trim()}`)
  } else if (reply !== undefined && reply.text.trim() === '') {
    run.violations.push(`${reply.status} without a word`)
  }
  return reply
}

async function askUntilGood(run: Run, server: Acmems): Promise<string | undefined> {
  const untilMs = performance.now() + askingForMs
  let last: SignReply | undefined
  while (performance.now() < untilMs) {
    last = await ask(run)
    if (last?.status === 200) return last.text
    if (server.hasEnded()) {
      run.violations.push(`the server ended by itself: ${server.log().split('\n').slice(-5).join(' | ')}`)
      return undefined
    }
    await sleep(Math.min(Number(last?.headers.get('retry-after') ?? 0) * 1000, 5000) || 200)
  }
  run.violations.push(`no certificate within ${askingForMs / 1000} s: ${last?.status} ${last?.text.trim()}`)
  return undefined
}

/** Nothing is under way any more, and nothing is about to begin. */
async function settle(run: Run): Promise<void> {
  const isBusy = () =>
    folders.countRows(run.folder, 'orders') > 0 ||
    (run.former !== undefined && !isRenewed(run) && folders.isDueNow(run.folder))
  const untilMs = performance.now() + settlingForMs
  do {
    await waitUntil(() => !isBusy(), settlingForMs)
    if (run.former === undefined || isRenewed(run)) return
    // Between taking what is due and claiming the order for it nothing shows.
    await sleep(betweenClaimsMs)
  } while (isBusy() && performance.now() < untilMs)
}

function isRenewed({ former, folder }: Run): boolean {
  return folders.registeredSerial(folder) !== former?.serial
}

async function judge(
  run: Run,
  facts: Pick<RunResult, 'deaths' | 'recoverySeconds' | 'renewedLate'>,
): Promise<RunResult> {
  const { plan, place, folder, violations, given } = run
  const expectedCertificates = plan.series.renewal ? 2 : 1
  const certificates = await place.countCertificates()
  if (certificates !== expectedCertificates)
    violations.push(`${certificates} certificates were issued, ${expectedCertificates} needed`)
  if (given.size > expectedCertificates) violations.push(`the host got ${given.size} different certificates`)
  for (const table of ['answers', 'orders'] as const) {
    const rows = folders.countRows(folder, table)
    if (rows > 0) violations.push(`${rows} rows left in ${table}`)
  }
  const records = await place.findTxt()
  if (records.length > 0) violations.push(`left in the zone: ${records.join(', ')}`)
  for (const secret of folders.secretsInLogs(folder)) violations.push(`${secret} stands in the log`)
  const stories = folders
    .orderStories(folder)
    .filter(({ url }) => url === undefined || run.former?.orders.has(url) !== true)
  // One that was made unheard can be found again, and is then in the story only.
  const heard = new Set([...folders.heardOrders(folder), ...stories.flatMap(({ url }) => url ?? [])])
  const failedOrders = stories.filter(({ url, outcome }) => outcome === 'failed' && heard.has(url ?? '')).length
  const unsavedOrders = [...heard].filter((url) => !stories.some((story) => story.url === url)).length
  if (heard.size > 1 + failedOrders + unsavedOrders) violations.push(`${heard.size} orders were made`)
  // This CA lists its orders, so that one is found again (RFC 8555 §7.1.2.1).
  if (unsavedOrders > 0) violations.push('an order was made again that the CA lists')
  if (failedOrders + unsavedOrders > facts.deaths.length) violations.push('more orders were lost than servers died')
  return {
    ...{ plan, certificates, expectedCertificates, violations, ...facts, failedOrders, unsavedOrders },
    orders: heard.size,
    ordersBefore: run.former?.orders.size ?? 0,
    unusedCertificates: 0,
    temporaryFiles: folders.temporaryFiles(folder).length,
    evidence: violations.length === 0 ? undefined : folders.collectEvidence(folder),
    points: folders.crashPoints(folder),
  }
}

async function waitUntil(isSo: () => boolean, forMs: number): Promise<boolean> {
  const untilMs = performance.now() + forMs
  while (!isSo()) {
    if (performance.now() > untilMs) return false
    await sleep(50)
  }
  return true
}
