// Row 23: very many certificates are due at once, when the server starts.
import assert from 'node:assert/strict'
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import { makeCsrs } from '../../bench/csrs.ts'
import { planRenewal } from '../../src/issuance/renewal-plan.ts'
import { openState } from '../../src/state/state.ts'
import { buildCertificate } from '../../src/x509/certificate-builder.ts'
import { type Csr, parseCsrPem } from '../../src/x509/csr.ts'
import { formatPem } from '../../src/x509/pem.ts'
import type { FaultProxy } from '../faults/fault-proxy.ts'
import { postCsr } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { until } from '../until.ts'
import { calm, configFor, ordersAt, readState, startProxy, startServer, stateFile } from './rig.ts'
import { type Figures, quantile, rounded, type Scenario } from './scenario.ts'

const dayMs = 24 * 3_600_000

/** Certificates of 90 days that end in 1 to 14 days, as if this server had issued them. */
async function preload(folder: string, pebble: Pebble, proxy: FaultProxy, csrs: readonly string[]): Promise<void> {
  const issuerKey = `acme:${proxy.directoryUrl}`
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const nowMs = Date.now()
  const times = { notBeforeMs: nowMs - 400 * dayMs, notAfterMs: nowMs + 400 * dayMs }
  const authorityDer = buildCertificate({
    ...{ kind: 'authority', commonName: 'Former CA', pathLength: 0 },
    ...{ publicKey: authority.publicKey, issuer: { key: authority.privateKey }, ...times, serial: randomBytes(16) },
  })
  const issuer = { key: authority.privateKey, certificate: new X509Certificate(authorityDer) }
  await using state = await openState(`sqlite:${stateFile(folder)}`, () => nowMs)
  for (const [i, text] of csrs.entries()) {
    const csr = parseCsrPem(text)
    // Not in the order in which they are entered.
    const notAfterMs = nowMs + dayMs + Math.floor((((i * 7919) % csrs.length) / csrs.length) * 13 * dayMs)
    const validity = { notBeforeMs: notAfterMs - 90 * dayMs, notAfterMs }
    const der = buildCertificate({
      ...{ kind: 'leaf', identifiers: csr.identifiers, publicKey: publicKeyOf(csr), issuer, ...validity },
      serial: randomBytes(16),
    })
    const chainPem = `${formatPem('CERTIFICATE', der)}\n${formatPem('CERTIFICATE', authorityDer)}`
    await state.certificates.saveChain({ csr, issuerKey, profile: undefined }, chainPem)
    const issuedAtMs = validity.notBeforeMs
    await state.register.record(
      {
        ...{
          id: needId(issuerKey, csr),
          block: 'all of it',
          issuer: 'default',
          storage: 'default',
          profile: undefined,
        },
        names: csr.identifiers.map(({ value }) => value),
        postedBytes: Buffer.from(text),
        ...{ remoteAddress: '127.0.0.1', issuedBy: issuerKey, serial: new X509Certificate(der).serialNumber },
        ...{ ...validity, issuedAtMs, askedAtMs: issuedAtMs + 1 },
        plan: planRenewal(validity, undefined, issuedAtMs, 0.5),
      },
      false,
    )
  }
  assert.ok(pebble.issuedCount() === 0)
}

/** As src/issuance/need.ts makes it. */
function needId(issuerKey: string, csr: Csr): string {
  return createHash('sha256').update(`${issuerKey}\0\0`).update(csr.der).digest('hex')
}

function publicKeyOf({ publicKey }: Csr) {
  return publicKey.type === 'public' ? publicKey : createPublicKey(publicKey)
}

async function run(full: boolean): Promise<Figures> {
  const count = full ? 5000 : 64
  using folder = makeTempFolder('stampede')
  await using pebble = await startPebble({ ...calm, alwaysValid: true, httpPort: await freePort() })
  await using proxy = await startProxy(pebble)
  const csrs = makeCsrs('due', count)
  await preload(folder.path, pebble, proxy, csrs)
  const load = { inFlight: 0, peak: 0, orders: 0, peakOrders: 0 }
  const times: number[] = []
  const names: string[] = []
  proxy.setRules([
    {
      action: {
        do: 'onRequest',
        before: ({ endpoint, payload }) => {
          times.push(performance.now())
          load.inFlight += 1
          load.peak = Math.max(load.peak, load.inFlight)
          if (endpoint === 'newOrder') names.push(JSON.stringify(payload?.identifiers))
        },
        answered: () => {
          load.inFlight -= 1
        },
      },
    },
  ])
  const startedMs = performance.now()
  await using server = await startServer(configFor(pebble, proxy), folder.path)
  const asked: number[] = []
  let isOver = false
  const hosts = (async () => {
    for (let i = 0; !isOver; i += 37) {
      const beganMs = performance.now()
      const reply = await postCsr(server.signUrl, csrs[i % count] ?? '')
      asked.push(performance.now() - beganMs)
      assert.equal(reply.status, 200, `a host waits in the stampede: ${reply.text}`)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  await until('all to be renewed', () => pebble.issuedCount() >= count, {
    withinMs: full ? 3_600_000 : 120_000,
  }).finally(() => {
    isOver = true
  })
  const drainedMs = performance.now() - startedMs
  await hosts
  await until('answers to be removed', () => readState(folder.path, 'select * from answers').length === 0)
  assert.equal(pebble.issuedCount(), count)
  assert.equal(ordersAt(pebble), count)
  const perSecond = peakPerSecond(times)
  assert.ok(load.peak <= 32, `${load.peak} requests at once`)
  // The first eighth is of those that end first, give or take what runs at once.
  const rank = new Map(csrs.map((_, i) => [`due-${i}.example.test`, (i * 7919) % count]))
  const ranks = names.map((text) => rank.get(/due-\d+\.example\.test/.exec(text)?.[0] ?? '') ?? Number.NaN)
  const early = ranks.slice(0, Math.floor(count / 8)).filter((one) => one <= count / 4).length
  assert.ok(early >= Math.floor(count / 8) * 0.9, `nearest end first: ${ranks.slice(0, 20).join(', ')}`)
  return {
    'certificates due at the start': count,
    'most requests at once at the CA': load.peak,
    'most requests in a second': perSecond,
    'time until all are renewed (s)': rounded(drainedMs / 1000),
    'requests a certificate': rounded(times.length / count),
    'orders a certificate': ordersAt(pebble) / count,
    'a host that asks meanwhile waits, median and worst (ms)': `${rounded(quantile(asked, 0.5))}, ${rounded(quantile(asked, 1))}`,
    'of the first eighth, among the quarter that ends first': `${rounded((100 * early) / Math.floor(count / 8))} %`,
  }
}

function peakPerSecond(times: readonly number[]): number {
  let peak = 0
  for (let start = 0, end = 0; end < times.length; end++) {
    while ((times[end] ?? 0) - (times[start] ?? 0) > 1000) start += 1
    peak = Math.max(peak, end - start + 1)
  }
  return peak
}

export const stampede: readonly Scenario[] = [
  {
    row: 23,
    fault: 'very many certificates are due when the server starts',
    expected: 'eight at a time, the nearest end first; hosts that ask meanwhile get their kept certificate at once',
    run,
  },
]
