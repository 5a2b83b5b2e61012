// Every write of an issuance is broken: it fails and nothing was written; it fails though it was written; from there on
// the disk is full. The caller gets a certificate or a reason, and in the end there is one certificate and no rest.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { ProblemError } from '../../src/acme/problem.ts'
import { makeTempFolder } from '../peers/child.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { requirePeer } from '../peers/peers.ts'
import { type Breakage, type Breaker, breakFiles, createBreaker, fileError, fullDisk } from './breaker.ts'
import { startBrokenIssuance } from './broken-issuance.ts'
import { createCaLedger } from './ca-ledger.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
const maxAsks = 5
const atOnce = 6

let shared: Promise<{ readonly pebble: Pebble; readonly ledger: ReturnType<typeof createCaLedger> }> | undefined

/** Nothing is refused and nothing reused, so that a request makes the same writes every time. */
function useCa() {
  shared ??= startPebble({ nonceReject: 0, authzReuse: 0 }).then((pebble) => ({
    pebble,
    ledger: createCaLedger(pebble),
  }))
  return shared
}

after(async () => (await shared)?.pebble.stop())

type Case = { readonly point: string | undefined; readonly breakage: Breakage }
type Target = {
  readonly storage: 'state' | 'file'
  /** What is broken: the state, or the files. */
  readonly breaks: 'state' | 'files'
  readonly makeError: () => Error
}

/** @returns the writes that there were, and what was wrong */
async function runBroken(
  { storage, breaks, makeError }: Target,
  { point, breakage }: Case,
): Promise<{ readonly writes: readonly string[]; readonly wrong: readonly string[] }> {
  const { pebble, ledger } = await useCa()
  using folder = makeTempFolder('broken')
  const breaker = createBreaker(point, breakage, makeError)
  const none = createBreaker(undefined, 'failed', makeError)
  using _files = breakFiles(folder.path, breaks === 'files' ? breaker : none)
  const stateBreaker = breaks === 'state' ? breaker : none
  await using world = await startBrokenIssuance({ pebble, folder: folder.path, storage, breaker: stateBreaker })
  const wrong: string[] = []
  const given = new Set<string>()
  let asks = 0
  for (; asks < maxAsks && given.size === 0; asks++) {
    const problem = await askOnce(world.ask, given)
    if (problem !== undefined) wrong.push(...judgeProblem(problem))
    // Whatever it was, it has passed when the host comes again.
    breaker.mend()
    if (problem !== undefined) await world.waitAndTidy(2 * minuteMs)
  }
  if (given.size === 0) wrong.push(`no certificate after ${asks} requests`)
  const writes = [...breaker.writes]
  const last = await askOnce(world.ask, given)
  if (last !== undefined) wrong.push(`asked again: ${last.message}`)
  if (given.size > 1) wrong.push('another certificate at the next request')
  // An end that could not be written down is found again when its lease is over; answers expire.
  await world.waitAndTidy(20 * minuteMs)
  await world.waitAndTidy(2 * dayMs)
  const rows = await world.countRows()
  if (rows.orders > 0 || rows.answers > 0) wrong.push(`left: ${rows.orders} orders, ${rows.answers} answers`)
  const issued = await ledger.countFor(world.name)
  if (issued !== 1) wrong.push(`${issued} certificates were issued`)
  return { writes, wrong: wrong.map((one) => `${point} ${breakage}: ${one}`) }
}

async function askOnce(ask: () => Promise<{ chain: { pem: string } }>, given: Set<string>): Promise<Error | undefined> {
  try {
    given.add((await ask()).chain.pem)
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function judgeProblem(error: Error): string[] {
  if (!(error instanceof ProblemError)) return [`no ProblemError: ${error.stack}`]
  return error.message.trim() === '' ? ['no reason given'] : []
}

async function breakEvery(target: Target, breakages: readonly Breakage[]): Promise<string[]> {
  const whole = await runBroken(target, { point: undefined, breakage: 'failed' })
  assert.deepEqual(whole.wrong, [])
  assert.ok(whole.writes.length > 5, `only ${whole.writes.join(', ')}`)
  const cases = whole.writes.flatMap((point) => breakages.map((breakage): Case => ({ point, breakage })))
  const wrong: string[] = []
  const queue = cases.values()
  const work = async () => {
    for (const one of queue) wrong.push(...(await runBroken(target, one)).wrong)
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return wrong
}

const everyWay: readonly Breakage[] = ['failed', 'failed but persisted', 'failing from then on']

test('every write to the state', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  assert.deepEqual(await breakEvery({ storage: 'state', breaks: 'state', makeError: fullDisk }, everyWay), [])
})

/** A full disk takes a part of it, a broken one may have taken it all, a read-only one takes nothing any more. */
const fileTroubles = {
  ENOSPC: [...everyWay, 'half'],
  EIO: ['failed but persisted'],
  EROFS: ['failing from then on'],
} as const satisfies Record<string, readonly Breakage[]>

for (const code of ['ENOSPC', 'EIO', 'EROFS'] as const) {
  test(`every write to files: ${code}`, async (t) => {
    if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
    const makeError = () => fileError(code)
    assert.deepEqual(await breakEvery({ storage: 'file', breaks: 'files', makeError }, fileTroubles[code]), [])
  })
}

test('a breaker breaks exactly the write that it was told to, until it is mended', async () => {
  const tryWith = (breaker: Breaker) => {
    const done: string[] = []
    const act = async (what: string) => {
      await breaker.around(what, async () => done.push(what)).catch(() => done.push('broken'))
      return done
    }
    return act
  }
  const second = tryWith(createBreaker('b#2', 'failed', fullDisk))
  for (const what of ['a', 'b', 'b']) await second(what)
  assert.deepEqual(await second('c'), ['a', 'b', 'broken', 'c'])
  const persisted = tryWith(createBreaker('a#1', 'failed but persisted', fullDisk))
  assert.deepEqual(await persisted('a'), ['a', 'broken'])
  const breaker = createBreaker('b#1', 'failing from then on', fullDisk)
  const onwards = tryWith(breaker)
  for (const what of ['a', 'b', 'c']) await onwards(what)
  breaker.mend()
  assert.deepEqual(await onwards('d'), ['a', 'broken', 'broken', 'd'])
  assert.equal(breaker.hasBroken, true)
})
