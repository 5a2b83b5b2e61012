// Two months of the renewals as the server runs them, over a real state and a CA of our own, on a clock whose sleeping
// is what makes time pass.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadConfig } from '../../src/config/load.ts'
import { openInstallation } from '../../src/installation.ts'
import { createIssuance } from '../../src/issuance/issue.ts'
import { createRenewals } from '../../src/issuance/renewals.ts'
import { createLog } from '../../src/log.ts'
import type { Clock, Issuer } from '../../src/plugin-api.ts'
import { builtinPlugins } from '../../src/plugins/builtin.ts'
import { createRuntime } from '../../src/runtime.ts'
import { buildCsrPem, ecKey } from '../csr-builder.ts'
import { makeTempFolder } from '../peers/child.ts'
import { seededRandom } from './fleets.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs
const startMs = Date.UTC(2027, 0, 1)
const days = 60
/** The loop sleeps five seconds when there is nothing to do; here it sleeps as long as this. */
const idleMs = 20 * minuteMs
const lifetimeDays = 12
/** More of them to be surer: FLEET_CERTIFICATES=300. */
const certificates = Number(process.env.FLEET_CERTIFICATES ?? 96)

type Host = { readonly name: string; csrPem: string; readonly everyMs: number; readonly changesCsr: boolean }
type Issued = { readonly atMs: number; readonly names: string; readonly csr: string }

test(`${certificates} certificates for ${days} days: none ends, each is renewed once a cycle, unused ones are left alone`, async (t) => {
  using folder = makeTempFolder('shell')
  const configFile = join(folder.path, 'acmems.ini')
  writeFileSync(
    configFile,
    `[state]
url = sqlite:${join(folder.path, 'state.db')}
[issuer "lab"]
type = local
lifetime = ${lifetimeDays}
[auth "all"]
ip = 127.0.0.0/8
domain = **.example.test
issuer = lab
`,
  )
  const sources = { environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }
  const config = await loadConfig({ files: [configFile], ...sources })
  using log = createLog({ level: 'error', destination: join(folder.path, 'log'), format: 'json' }, 'program')
  const stopping = new AbortController()
  const random = seededRandom(1)

  // Hosts ---------------------------------------------------------------------------------------

  const makeCsr = (name: string) => buildCsrPem({ key: ecKey(), names: [name] })
  const hosts = (kind: string, count: number, everyMs: number, changesCsr = false) =>
    Array.from({ length: count }, (_, index): Host => {
      const name = `${kind}-${index}.example.test`
      return { name, csrPem: makeCsr(name), everyMs, changesCsr }
    })
  const regular = hosts('regular', (certificates * 2) / 3, 3 * dayMs)
  const forgotten = hosts('forgotten', certificates / 6, Infinity)
  const changing = hosts('changing', certificates / 6, 5 * dayMs, true)
  const asks = [...regular, ...forgotten, ...changing]
    .map((host) => ({ host, atMs: startMs + random() * dayMs }))
    .sort((one, other) => one.atMs - other.atMs)

  // Time ----------------------------------------------------------------------------------------

  let nowMs = startMs
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs - startMs,
    async sleep(ms, signal) {
      signal.throwIfAborted()
      const untilMs = nowMs + Math.max(ms, idleMs)
      while ((asks[0]?.atMs ?? Infinity) <= untilMs) await letAsk()
      nowMs = Math.max(nowMs, untilMs)
      if (nowMs >= startMs + days * dayMs) stopping.abort(new Error('the two months are over'))
    },
  }

  async function letAsk(): Promise<void> {
    const ask = asks.shift()
    if (ask === undefined) return
    const { host } = ask
    nowMs = Math.max(nowMs, ask.atMs)
    if (host.changesCsr && ask.atMs > startMs + dayMs) host.csrPem = makeCsr(host.name)
    const { chain } = await issuance.issue(requestFor(host.csrPem))
    if (chain.leaf.notAfterMs <= nowMs) expired.push(host.name)
    if (host.everyMs === Infinity) return
    asks.push({ host, atMs: nowMs + host.everyMs })
    asks.sort((one, other) => one.atMs - other.atMs)
  }

  // The server ----------------------------------------------------------------------------------

  const parts = {
    log,
    clock,
    stateFolder: folder.path,
    randomBytes: (length: number) => Uint8Array.from({ length }, () => random() * 256),
  }
  await using installation = await openInstallation(config, parts, stopping.signal)
  const { state, context, holder, setupFor } = installation
  await using runtime = await createRuntime(config, setupFor)
  const lab = runtime.issuers.get('lab')
  assert.ok(lab !== undefined)
  const issued: Issued[] = []
  const expired: string[] = []
  const counted: Issuer = {
    ...lab,
    async advance(grant, progress, resumed, issuerContext) {
      const advance = await lab.advance(grant, progress, resumed, issuerContext)
      const names = grant.csr.identifiers.map(({ value }) => value).join()
      issued.push({ atMs: nowMs, names, csr: Buffer.from(grant.csr.der).toString('base64') })
      return advance
    },
  }
  const requestOf: typeof runtime.requestOf = (stored) => {
    const request = runtime.requestOf(stored)
    return { ...request, means: { ...request.means, issuer: counted } }
  }
  const requestFor = (csrPem: string) =>
    requestOf({ block: 'all', postedBytes: Buffer.from(csrPem), remoteAddress: '127.0.0.1' })
  const issuance = createIssuance({
    orders: state.orders,
    register: state.register,
    outages: state.outages,
    blockedKeys: { has: (publicKeyHash) => state.register.isKeyBlocked(publicKeyHash) },
    holder,
    context,
    repeat: () => ({ [Symbol.dispose]: () => undefined }),
  })
  let renewed = 0
  const renewals = createRenewals({
    issuance,
    register: state.register,
    orders: state.orders,
    context,
    requestOf,
    abandon: () => Promise.reject(new Error('there is nothing to abandon')),
    tell: ({ kind }) => {
      assert.equal(kind, 'certificate.issued')
      renewed += 1
    },
  })
  await renewals.run()

  // What came of it -----------------------------------------------------------------------------

  assert.deepEqual(expired, [])
  const timesOf = ({ name }: Host) => issued.filter(({ names }) => names === name).map(({ atMs }) => atMs)
  const cycleMs = lifetimeDays * dayMs * (2 / 3)
  for (const host of regular) {
    const times = timesOf(host)
    // Two thirds of twelve days, or a fiftieth of them earlier.
    for (const [index, atMs] of times.slice(1).entries()) {
      const gapMs = atMs - (times[index] ?? 0)
      assert.ok(gapMs > cycleMs - 8 * hourMs && gapMs < cycleMs + 2 * hourMs, `${host.name}: ${gapMs / dayMs} days`)
    }
    assert.ok(times.length >= 8 && times.length <= 9, `${host.name}: ${times.length} times`)
    const kept = await issuance.findKept(requestFor(host.csrPem))
    assert.ok(kept?.fresh === true, `${host.name} has a good certificate at the end`)
    assert.ok(new X509Certificate(kept.chain.pem).checkHost(host.name))
  }
  // Asked once: the first is followed by one more, because somebody may still use it; then nobody did.
  for (const host of forgotten) assert.equal(timesOf(host).length, 2, host.name)
  // A new request every five days of eight: the older one is never renewed, though nobody says that it is over.
  for (const host of changing) assert.equal(new Set(timesOf(host)).size, 12, host.name)
  const byCsr = new Map<string, number>()
  for (const { names, csr } of issued) if (names.startsWith('changing')) byCsr.set(csr, (byCsr.get(csr) ?? 0) + 1)
  assert.deepEqual([...new Set(byCsr.values())], [1])

  // Now and then a host asks while the timer is at the same certificate: both get the one, and both are told of it.
  const byTimer = issued.length - certificates - (certificates / 6) * 11
  assert.ok(renewed >= byTimer * 0.95 && renewed <= byTimer * 1.05, `${renewed} told of, ${byTimer} made`)
  assert.deepEqual(await state.orders.unattended(Number.MAX_SAFE_INTEGER, 10), [], 'no order is left behind')
  t.diagnostic(`${issued.length} certificates in ${days} days, ${byTimer} of them by the timer`)
})
