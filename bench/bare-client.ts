// Our ACME client alone: the issuer's own steps with its own pace, without server, state and policy around them. A
// process of its own, told what to do by messages of its parent (see new-certificates.ts).
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { calculateJwkThumbprint } from 'jose'
import { createAccount } from '../src/acme-client/accounts.ts'
import { createTransport } from '../src/acme-client/transport.ts'
import { systemClock } from '../src/clock.ts'
import { createHttpClient } from '../src/http/http-client.ts'
import type { ChallengeSolver, Grant, Issuer, IssuerContext, Logger, Progress, RateLedger } from '../src/plugin-api.ts'
import { createAcmeIssuer } from '../src/plugins/issuers/acme.ts'
import { accountKeyOf } from '../src/plugins/keys/file.ts'
import { parseCsrPem } from '../src/x509/csr.ts'

export type BareOrder = { readonly csrs: readonly string[]; readonly parallel: number }
export type BareResult = { readonly elapsedMs: number } | { readonly error: string }

const silent: Logger = { debug: () => undefined, info: () => undefined, warn: console.error, error: console.error }
/** Pebble is told to believe everything, so there is nothing to answer. */
const solver: ChallengeSolver = { type: 'http-01', present: async () => undefined, cleanUp: async () => undefined }

async function openIssuer(directoryUrl: string, caFile: string): Promise<{ issuer: Issuer; context: IssuerContext }> {
  const context: IssuerContext = {
    signal: new AbortController().signal,
    clock: systemClock,
    log: silent,
    http: createHttpClient([readFileSync(caFile, 'utf8')]),
    randomBytes: (length) => randomBytes(length),
    solvers: [solver],
  }
  const key = accountKeyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  const transport = createTransport(directoryUrl, 'acmems-bench', () => Date.now())
  const { url } = await createAccount(transport, key, { termsOfServiceAgreed: true, contact: [] }, context)
  const account = { key, accountUrl: url, thumbprint: await calculateJwkThumbprint(key.publicJwk) }
  const holder = { account: async () => account, forget: () => undefined }
  const settings = { directoryUrl, profile: undefined, preferredChain: undefined, limits: {} }
  return { issuer: createAcmeIssuer(settings, transport, holder, noLimits), context }
}

const noLimits: RateLedger = {
  take: async () => undefined,
  charge: async () => undefined,
  giveBack: async () => undefined,
  refill: async () => undefined,
  emptyUntil: async () => undefined,
  empty: async () => undefined,
}

async function obtain(issuer: Issuer, context: IssuerContext, csrPem: string): Promise<void> {
  const grant = { csr: parseCsrPem(csrPem), profile: undefined } as unknown as Grant
  let progress: Progress | undefined
  for (;;) {
    const advance = await issuer.advance(grant, progress, false, context)
    if (advance.outcome === 'done') return
    progress = advance.progress
    const waitMs = (advance.notBeforeMs ?? 0) - context.clock.nowMs()
    if (waitMs > 0) await context.clock.sleep(waitMs, context.signal)
  }
}

const [directoryUrl = '', caFile = ''] = process.argv.slice(2)
const { issuer, context } = await openIssuer(directoryUrl, caFile)

async function run({ csrs, parallel }: BareOrder): Promise<BareResult> {
  const startedMs = performance.now()
  const pending = [...csrs]
  const work = async () => {
    for (let csr = pending.pop(); csr !== undefined; csr = pending.pop()) await obtain(issuer, context, csr)
  }
  await Promise.all(Array.from({ length: parallel }, work))
  return { elapsedMs: performance.now() - startedMs }
}

process.on('message', (order: BareOrder) => {
  run(order).then(
    (result) => process.send?.(result),
    (error: Error) => process.send?.({ error: error.message }),
  )
})
process.send?.('ready')
