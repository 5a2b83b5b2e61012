// A world for the one pipeline: records, an issuer, a storage and a clock that are values.
import assert from 'node:assert/strict'
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto'
import { parseDnsName } from '../src/acme/identifier.ts'
import { ProblemError } from '../src/acme/problem.ts'
import { createIssuance, type Issuance, type IssueRequest } from '../src/issuance/issue.ts'
import {
  type CertificateRegister,
  LeaseLostError,
  type Need,
  type OrderRecord,
  type OrderRecords,
  type Outage,
  type Outages,
  type RegisterEntry,
} from '../src/issuance/records.ts'
import type {
  Advance,
  CertificateStorage,
  Clock,
  Grant,
  IssuedChain,
  Issuer,
  KeptRequest,
  LogFields,
  PluginContext,
  Progress,
} from '../src/plugin-api.ts'
import { authorize } from '../src/policy/authorize.ts'
import type { Block } from '../src/policy/block.ts'
import { buildCertificate } from '../src/x509/certificate-builder.ts'
import { parseChain } from '../src/x509/chain.ts'
import type { Csr } from '../src/x509/csr.ts'
import { formatPem } from '../src/x509/pem.ts'

export const hourMs = 3_600_000
export const dayMs = 24 * hourMs
export const startMs = Date.UTC(2026, 10, 21)

// certificates -----------------------------------------------------------------------------------

export const makeKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
export const validity = { notBeforeMs: startMs - 400 * dayMs, notAfterMs: startMs + 4000 * dayMs }

export function makeAuthority() {
  const key = makeKey()
  const der = buildCertificate({
    ...{ kind: 'authority', commonName: 'test CA', publicKey: createPublicKey(key), issuer: { key }, ...validity },
    serial: randomBytes(16),
  })
  return { key, certificate: new X509Certificate(der), pem: formatPem('CERTIFICATE', der) }
}

export const authority = makeAuthority()
export const stranger = makeAuthority()
export const hostKey = makeKey()
export const otherKey = makeKey()

export function makeCsr(name: string, key = hostKey): Csr {
  const publicKey = createPublicKey(key)
  const spkiDer = publicKey.export({ type: 'spki', format: 'der' })
  return {
    der: Buffer.from(`request for ${name}`),
    identifiers: [parseDnsName(name)],
    publicKey,
    publicKeyHash: createHash('sha256').update(spkiDer).digest('hex'),
  }
}

export type Leaf = {
  readonly name?: string
  readonly key?: KeyObject
  readonly fromMs?: number
  readonly toMs?: number
}

/** A chain of leaf and CA, good for www.example.org for 90 days from the start unless told otherwise. */
export function makeChain({
  name = 'www.example.org',
  key = hostKey,
  fromMs = startMs,
  toMs = startMs + 90 * dayMs,
}: Leaf = {}): string {
  const der = buildCertificate({
    ...{ kind: 'leaf', identifiers: [parseDnsName(name)], publicKey: createPublicKey(key), issuer: authority },
    ...{ notBeforeMs: fromMs, notAfterMs: toMs, serial: randomBytes(16) },
  })
  return `${formatPem('CERTIFICATE', der)}\n${authority.pem}`
}

export function serialOf(chainPem: string): string {
  return parseChain(chainPem).leaf.serial
}

// the world --------------------------------------------------------------------------------------

export type Log = { readonly level: string; readonly message: string; readonly fields: LogFields | undefined }

/** Sleeping moves the time, so nothing here takes any. */
export function createClock(): Clock & { nowAtMs: number; readonly sleepsMs: number[] } {
  const clock = {
    nowAtMs: startMs,
    sleepsMs: [] as number[],
    nowMs: () => clock.nowAtMs,
    monotonicMs: () => clock.nowAtMs,
    async sleep(ms: number, signal: AbortSignal) {
      signal.throwIfAborted()
      clock.sleepsMs.push(ms)
      clock.nowAtMs += ms
    },
  }
  return clock
}

export type Row = {
  readonly need: Need
  progress: Progress | undefined
  orderUrl: string | undefined
  attempts: number
  holder: string | undefined
  leaseUntilMs: number
}

/** What state/ does, and what it was asked. */
export function createRecords() {
  const rows = new Map<string, Row>()
  const calls: string[] = []
  let fail: { readonly on: string; readonly error: Error } | undefined
  const note = (call: string) => {
    calls.push(call)
    if (fail?.on === call) throw fail.error
  }
  const held = (needId: string, holder: string) => {
    const row = rows.get(needId)
    return row?.holder === holder ? row : undefined
  }
  const records: OrderRecords = {
    async claim(need, holder, nowMs, leaseUntilMs): Promise<OrderRecord | undefined> {
      note('claim')
      const row = rows.get(need.id)
      if (row !== undefined && row.leaseUntilMs > nowMs) return undefined
      const attempts = (row?.attempts ?? 0) + 1
      const known = { progress: row?.progress, orderUrl: row?.orderUrl, attempts }
      rows.set(need.id, { need, ...known, holder, leaseUntilMs })
      return { need, ...known, steps: [], beganAtMs: nowMs }
    },
    async save(needId, holder, { progress, orderUrl }, _nowMs, leaseUntilMs) {
      note('save')
      const row = held(needId, holder)
      if (row === undefined) throw new LeaseLostError('the lease on the order was lost')
      Object.assign(row, { progress, orderUrl, leaseUntilMs })
    },
    async lengthen() {},
    async finish({ need }, holder) {
      note('finish')
      if (held(need.id, holder) !== undefined) rows.delete(need.id)
    },
    async postpone() {},
    async isOrderInUse(orderUrl, needId) {
      return [...rows].some(([id, row]) => id !== needId && row.orderUrl === orderUrl)
    },
    isUnattended: async (needId, nowMs) => (rows.get(needId)?.leaseUntilMs ?? Number.POSITIVE_INFINITY) <= nowMs,
    async unattended(nowMs, max) {
      return [...rows.values()]
        .filter(({ leaseUntilMs }) => leaseUntilMs <= nowMs)
        .map(({ need }) => need)
        .slice(0, max)
    },
    async release(needId, holder) {
      note('release')
      const row = held(needId, holder)
      if (row !== undefined) Object.assign(row, { holder: undefined, leaseUntilMs: 0 })
    },
  }
  return {
    ...{ records, rows, calls },
    failOn: (on: string, error: Error) => {
      fail = { on, error }
    },
  }
}

/** Keeps by request; `keep` can be made to fail, `find` to be slow. */
export function createStorage(kept?: string) {
  const chains = new Map<string, string>()
  const keyOf = (request: KeptRequest) =>
    `${request.issuerKey} ${request.profile} ${Buffer.from(request.csr.der).toString()}`
  const seen = { finds: 0, keeps: 0 }
  let first = kept
  const storage: CertificateStorage = {
    async find(request) {
      seen.finds += 1
      if (first !== undefined) chains.set(keyOf(request), first)
      first = undefined
      return chains.get(keyOf(request))
    },
    async keep(request, chainPem) {
      seen.keeps += 1
      chains.set(keyOf(request), chainPem)
    },
    async forget(request) {
      chains.delete(keyOf(request))
    },
  }
  return { storage, seen, chains }
}

export type Call = { readonly progress: Progress | undefined; readonly resumed: boolean }
export type Steps = (call: Call, nth: number) => Advance | Promise<Advance>

export const done = (chainPem = makeChain()): Advance => ({
  outcome: 'done',
  chain: { chainPem, alternatesPem: [] } satisfies IssuedChain,
})
export const again = (progress: Progress, notBeforeMs?: number): Advance =>
  notBeforeMs === undefined ? { outcome: 'again', progress } : { outcome: 'again', progress, notBeforeMs }
export const failed = (when: 'never' | 'newOrder' | 'backoff', code: 'connection' | 'serverInternal' = 'connection') =>
  new ProblemError(code, 'the CA says no', { retry: { when } })

export function createIssuer(steps: Steps, key = 'test CA') {
  const calls: Call[] = []
  const issuer: Issuer = {
    key,
    async advance(_grant, progress, resumed) {
      const call = { progress, resumed }
      calls.push(call)
      return steps(call, calls.length - 1)
    },
  }
  return { issuer, calls }
}

export function createWorld(orders = createRecords(), holder = 'me', clock = createClock()) {
  const logs: Log[] = []
  const abort = new AbortController()
  const log = (level: string) => (message: string, fields?: LogFields) => {
    logs.push({ level, message, fields })
  }
  const context: PluginContext = {
    ...{ signal: abort.signal, clock, randomBytes: (length: number) => new Uint8Array(length).fill(128) },
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    http: { request: () => Promise.reject(new Error('no network here')) },
  }
  const register = createRegister()
  const outages = createOutages()
  const issuance = createIssuance({
    ...{ orders: orders.records, register: register.register, outages: outages.outages, holder, context },
    blockedKeys: { has: async () => false },
    repeat: () => ({ [Symbol.dispose]: () => undefined }),
  })
  return { clock, orders, logs, abort, context, register, outages, issuance }
}

export function createRegister() {
  const entries = new Map<string, RegisterEntry>()
  const register: CertificateRegister = {
    async record(entry) {
      entries.set(entry.id, entry)
    },
    async noteAsked(id, nowMs) {
      const entry = entries.get(id)
      if (entry !== undefined) entries.set(id, { ...entry, askedAtMs: nowMs })
      return entry !== undefined
    },
    find: async (id) => entries.get(id),
    async savePlan(id, plan, _wakeAtMs, lastError) {
      const entry = entries.get(id)
      if (entry === undefined) return
      entries.set(id, { ...entry, ...(plan && { plan }), ...(lastError === undefined ? {} : { lastError }) })
    },
    takeDue: async () => [],
  }
  return { register, entries }
}

export function createOutages() {
  const known = new Map<string, Outage>()
  const outages: Outages = {
    find: async (issuerKey) => known.get(issuerKey),
    async save(outage) {
      known.set(outage.issuerKey, outage)
    },
    async clear(issuerKey) {
      known.delete(issuerKey)
    },
  }
  return { outages, known }
}

export const block: Block = {
  ...{ name: 'web', credentials: [], covers: () => true, maxNames: 100 },
  ...{ issuer: 'default', verification: undefined, storage: 's', profile: undefined },
}

export function grantFor(csr: Csr, profile?: string): Grant {
  const decision = authorize({ remoteAddress: '192.0.2.9', blocks: ['web'] }, csr, [{ ...block, profile }])
  assert.ok(decision.allowed)
  return decision.grant
}

export type Ask = {
  readonly csr?: Csr
  readonly profile?: string
  readonly posted?: string
  readonly issuer: Issuer
  readonly storage?: CertificateStorage
  readonly fallback?: Issuer
}

export function ask(issuance: Issuance, wish: Ask) {
  return issuance.issue(requestFor(wish))
}

export function requestFor({
  csr = makeCsr('www.example.org'),
  profile,
  posted = 'posted',
  issuer,
  storage = createStorage().storage,
  fallback,
}: Ask): IssueRequest {
  const second = fallback === undefined ? {} : { fallback: { issuer: fallback, storage, solvers: [] } }
  const means = { issuer, storage, solvers: [], ...second }
  return { grant: grantFor(csr, profile), postedBytes: Buffer.from(posted), means }
}

export async function failureOf(attempt: Promise<unknown>): Promise<ProblemError> {
  const error = await attempt.then(
    () => assert.fail('it should have failed'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof ProblemError, String(error))
  return error
}
