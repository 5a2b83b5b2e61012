// nextStep against a CA that is a value. First alone, with the effects as a pure fake; then under the real issuer,
// whose process dies at every step. What happened is written down, and the rules are read off what was written.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Authorization, parseAuthorization } from '../acme/authorization.ts'
import { type Identifier, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import type { JsonObject } from '../acme/json-object.ts'
import { type Order, parseOrder } from '../acme/order.ts'
import { ProblemError } from '../acme/problem.ts'
import type {
  AccountKey,
  ChallengeSolver,
  ChallengeType,
  Grant,
  IssuerContext,
  Progress,
  RateLedger,
} from '../plugin-api.ts'
import { createAcmeIssuer } from '../plugins/issuers/acme.ts'
import { authorize } from '../policy/authorize.ts'
import type { Block } from '../policy/block.ts'
import { buildCertificate } from '../x509/certificate-builder.ts'
import { formatPem } from '../x509/pem.ts'
import { nextStep, noProgress, type OrderProgress, type Step } from './order-flow.ts'
import type { AcmeReply, AcmeTransport } from './transport.ts'

// the CA -----------------------------------------------------------------------------------------

const orderStatuses = ['pending', 'ready', 'processing', 'valid', 'invalid'] as const
const authorizationStatuses = ['pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked'] as const
const challengeStatuses = ['pending', 'processing', 'valid', 'invalid'] as const
const knownTypes: readonly ChallengeType[] = ['http-01', 'dns-01', 'tls-alpn-01']

/** What a CA does, and what it says that is not so, before it settles down. */
type Script = {
  readonly names: readonly string[]
  readonly solvable: readonly ChallengeType[]
  /** Challenge types offered, name by name. */
  readonly offered: readonly (readonly string[])[]
  /** Authorizations that were valid before, name by name. */
  readonly reused: readonly boolean[]
  readonly validates: readonly boolean[]
  readonly readsToValidate: number
  readonly readsToIssue: number
  readonly issues: boolean
  readonly expiresInMs: number
  /** Told instead of the truth, answer by answer. */
  readonly orderLies: readonly ((typeof orderStatuses)[number] | undefined)[]
  readonly authorizationLies: readonly ((typeof authorizationStatuses)[number] | undefined)[]
  readonly challengeLies: readonly ((typeof challengeStatuses)[number] | undefined)[]
  /** The answer that is about other names. */
  readonly otherNamesAt: number | undefined
}

const honest: Script = {
  names: ['a.example', '*.a.example', '192.0.2.1'],
  solvable: ['dns-01', 'http-01'],
  offered: [
    ['http-01', 'dns-01', 'tls-alpn-01'],
    ['unknown-01', 'dns-01'],
    ['tls-alpn-01', 'http-01'],
  ],
  reused: [],
  validates: [true, true, true],
  readsToValidate: 2,
  readsToIssue: 1,
  issues: true,
  expiresInMs: 3_600_000,
  orderLies: [],
  authorizationLies: [],
  challengeLies: [],
  otherNamesAt: undefined,
}

const base = 'https://ca.example'
const tokenOf = (challengeUrl: string) => challengeUrl.replace(/\W/g, '_')
const identifierOf = (name: string): Identifier => (/^\d/.test(name) ? parseIpAddress(name) : parseDnsName(name))

type Event = {
  readonly what: 'createOrder' | 'answer' | 'finalize' | 'download' | 'present' | 'wait' | 'cleanUp'
  readonly url: string
}

/** Answers as JSON, like a real one; keeps to the rules of RFC 8555 §7.1.6 behind its lies. */
function createCa(script: Script, startMs: number) {
  const events: Event[] = []
  const read = new Map<string, string>()
  const answeredAt = new Map<string, number>()
  let orders = 0
  let orderReads = 0
  let authorizationReads = 0
  let challengeReads = 0
  let finalizedAt: number | undefined
  let lastOrderStatus = ''

  const authorizationUrl = (index: number) => `${base}/authz/${orders}/${index}`
  const isValid = (index: number) => {
    const at = answeredAt.get(authorizationUrl(index))
    if (script.reused[index] === true) return true
    return at !== undefined && orderReads - at >= script.readsToValidate && script.validates[index] === true
  }
  const hasFailed = (index: number) => {
    const at = answeredAt.get(authorizationUrl(index))
    return at !== undefined && orderReads - at >= script.readsToValidate && script.validates[index] !== true
  }
  const indexes = script.names.map((_, index) => index)

  function trueStatus(): (typeof orderStatuses)[number] {
    if (indexes.some(hasFailed)) return 'invalid'
    if (!indexes.every(isValid)) return 'pending'
    if (finalizedAt === undefined) return 'ready'
    if (orderReads - finalizedAt < script.readsToIssue) return 'processing'
    return script.issues ? 'valid' : 'invalid'
  }

  function tellOrder(): JsonObject {
    const nth = orderReads++
    const status = script.orderLies[nth] ?? trueStatus()
    lastOrderStatus = status
    const names = nth === script.otherNamesAt ? ['other.example'] : script.names
    return {
      status,
      expires: new Date(startMs + script.expiresInMs).toISOString(),
      identifiers: names.map(identifierOf),
      authorizations: indexes.map(authorizationUrl),
      finalize: `${base}/finalize/${orders}`,
      certificate: `${base}/cert/${orders}`,
    }
  }

  function tellAuthorization(url: string): JsonObject {
    const index = Number(url.split('/').at(-1))
    const truth = isValid(index) ? 'valid' : hasFailed(index) ? 'invalid' : 'pending'
    const status = script.authorizationLies[authorizationReads++] ?? truth
    read.set(url, status)
    const offered = script.offered[index] ?? []
    // In another order at every reading.
    const turned = offered.map((_, i) => offered[(i + authorizationReads) % offered.length] ?? '')
    const challenges = turned.map((type) => {
      const answered = answeredAt.has(url)
      const challengeStatus = truth === 'pending' ? (answered ? 'processing' : 'pending') : truth
      const challengeUrl = `${url}/${type}`
      return {
        ...{ type, url: challengeUrl, token: tokenOf(challengeUrl) },
        status: script.challengeLies[challengeReads++] ?? challengeStatus,
      }
    })
    const name = script.names[index] ?? ''
    const wildcard = name.startsWith('*.')
    return { status, wildcard, identifier: identifierOf(wildcard ? name.slice(2) : name), challenges }
  }

  return {
    events,
    note: (what: Event['what'], url: string) => events.push({ what, url }),
    url: () => `${base}/order/${orders}`,
    createOrder(): JsonObject {
      orders += 1
      answeredAt.clear()
      finalizedAt = undefined
      events.push({ what: 'createOrder', url: `${base}/order/${orders}` })
      return tellOrder()
    },
    tellOrder,
    tellAuthorization,
    answer(challengeUrl: string): void {
      const url = challengeUrl.slice(0, challengeUrl.lastIndexOf('/'))
      const type = challengeUrl.slice(challengeUrl.lastIndexOf('/') + 1)
      assert.equal(read.get(url), 'pending', 'only a pending authorization is answered')
      assert.ok(
        script.solvable.some((known) => known === type),
        `${type} cannot be solved`,
      )
      events.push({ what: 'answer', url: challengeUrl })
      if (!answeredAt.has(url)) answeredAt.set(url, orderReads)
    },
    finalize(): JsonObject {
      assert.equal(lastOrderStatus, 'ready', 'only a ready order is finalized')
      events.push({ what: 'finalize', url: `${base}/finalize/${orders}` })
      if (trueStatus() === 'ready') finalizedAt = orderReads
      return tellOrder()
    },
    download(): string {
      assert.equal(lastOrderStatus, 'valid', 'only the certificate of a valid order is downloaded')
      events.push({ what: 'download', url: `${base}/cert/${orders}` })
      return chainPem
    },
  }
}

type Ca = ReturnType<typeof createCa>

// the rules --------------------------------------------------------------------------------------

const authorizationOf = (challengeUrl: string) => challengeUrl.slice(0, challengeUrl.lastIndexOf('/'))

/** Nothing is answered before it was presented and waited for, and one challenge is chosen for each name, once. */
function checkAnswers(events: readonly Event[]): void {
  for (const [index, { what, url }] of events.entries()) {
    if (what !== 'answer') continue
    const before = events.slice(0, index).filter((event) => event.url === url && event.what !== 'answer')
    assert.ok(
      before.some((event) => event.what === 'present'),
      `${url} was answered before it was presented`,
    )
    assert.equal(before.at(-1)?.what, 'wait', `${url} was answered after ${before.at(-1)?.what}`)
  }
  const presented = new Set(events.filter(({ what }) => what === 'present').map(({ url }) => url))
  const names = new Set([...presented].map(authorizationOf))
  assert.equal(presented.size, names.size, `several challenges for one name: ${[...presented].join(' ')}`)
}

/** When all is over nothing that was presented is left. */
function checkCleanUp(events: readonly Event[]): void {
  const left = new Set<string>()
  for (const { what, url } of events) {
    if (what === 'present') left.add(url)
    if (what === 'cleanUp') left.delete(url)
  }
  assert.deepEqual([...left], [], 'left behind')
}

// any CA -----------------------------------------------------------------------------------------

const perName = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: 4, maxLength: 4 })
const mostly = <T>(value: fc.Arbitrary<T>) => fc.array(fc.option(value, { nil: undefined, freq: 2 }), { maxLength: 8 })

const anyScript: fc.Arbitrary<Script> = fc.record({
  names: fc.subarray(['a.example', '*.a.example', 'b.example', '192.0.2.1'], { minLength: 1 }),
  solvable: fc.shuffledSubarray([...knownTypes]),
  offered: perName(fc.uniqueArray(fc.constantFrom(...knownTypes, 'dns-persist-01', 'unknown-01'), { maxLength: 5 })),
  reused: perName(fc.boolean()),
  validates: perName(fc.boolean()),
  readsToValidate: fc.nat(3),
  readsToIssue: fc.nat(3),
  issues: fc.boolean(),
  expiresInMs: fc.constantFrom(0, 50, 5000, 300_000),
  orderLies: mostly(fc.constantFrom(...orderStatuses)),
  authorizationLies: mostly(fc.constantFrom(...authorizationStatuses)),
  challengeLies: mostly(fc.constantFrom(...challengeStatuses)),
  otherNamesAt: fc.option(fc.nat(8), { nil: undefined, freq: 4 }),
})

/** A CA that settles within 8 lies, for an order that lives five minutes and is looked at every ten seconds. */
const maxSteps = 100
const startMs = Date.UTC(2026, 10, 21)

// 1. alone ---------------------------------------------------------------------------------------

/** What the issuer does for a step, without any I/O. */
function performPurely(ca: Ca, progress: OrderProgress, step: Step): OrderProgress {
  const order = (body: JsonObject): Order => parseOrder(ca.url(), body)
  const load = (urls: readonly string[]): Authorization[] =>
    urls.map((url) => parseAuthorization(url, ca.tellAuthorization(url)))
  const note = (what: Event['what'], list: readonly { readonly challenge: { readonly url: string } }[]) => {
    for (const { challenge } of list) ca.note(what, challenge.url)
  }
  switch (step.do) {
    case 'createOrder':
      assert.equal(progress.order, undefined, 'a second order for one need')
      return { ...progress, order: order(ca.createOrder()) }
    case 'loadAuthorizations':
      return { ...progress, authorizations: load(step.urls) }
    case 'inspect':
      return { ...progress, authorizations: load(step.urls), inspected: true }
    case 'choose':
      return { ...progress, chosen: step.chosen }
    case 'present':
      note('present', step.challenges)
      return {
        ...progress,
        presented: [...progress.presented, ...step.challenges.map(({ challenge }) => challenge.url)],
      }
    case 'waitUntilVisible':
      note('wait', step.challenges)
      return { ...progress, visible: true }
    case 'answer':
      for (const { url } of step.challenges) ca.answer(url)
      return { ...progress, answered: [...progress.answered, ...step.challenges.map(({ url }) => url)] }
    case 'poll':
      return { ...progress, order: order(ca.tellOrder()) }
    case 'finalize':
      return { ...progress, order: order(ca.finalize()) }
    case 'download':
      return { ...progress, chainPem: ca.download() }
    case 'cleanUp':
      note('cleanUp', step.challenges)
      return { ...progress, cleaned: true }
    case 'succeed':
    case 'fail':
      return assert.fail('the end is no effect')
    default:
      return step satisfies never
  }
}

function runAlone(script: Script): { ca: Ca; end: Step & { do: 'succeed' | 'fail' } } {
  const ca = createCa(script, startMs)
  const asked = script.names.map(identifierOf)
  let progress = noProgress
  let nowMs = startMs
  for (let count = 0; count < maxSteps; count++) {
    const step = nextStep(progress, asked, script.solvable, nowMs)
    if (step.do === 'succeed' || step.do === 'fail') return { ca, end: step }
    if (step.do === 'poll') nowMs += 10_000
    progress = performPurely(ca, progress, step)
  }
  return assert.fail(`no end after ${maxSteps} steps`)
}

test('an honest CA: each name once, everything before anything is answered, and nothing left behind', () => {
  const { ca, end } = runAlone(honest)
  assert.deepEqual(end, { do: 'succeed', chainPem })
  const what = ca.events.map((event) => event.what)
  assert.deepEqual(what, [
    'createOrder',
    ...['present', 'present', 'present', 'wait', 'wait', 'wait', 'answer', 'answer', 'answer'],
    ...['finalize', 'download', 'cleanUp', 'cleanUp', 'cleanUp'],
  ])
  const types = ca.events
    .filter((event) => event.what === 'answer')
    .map(({ url }) => url.slice(url.lastIndexOf('/') + 1))
  assert.deepEqual(types, ['dns-01', 'dns-01', 'http-01'], 'the preferred type where it is offered')
})

test('authorizations that are valid already are left alone', () => {
  const { ca, end } = runAlone({ ...honest, reused: [true, true, true] })
  assert.equal(end.do, 'succeed')
  assert.deepEqual(
    ca.events.map(({ what }) => what),
    ['createOrder', 'finalize', 'download'],
  )
})

test('whatever a CA answers, it ends, answers nothing early and leaves nothing behind', () => {
  fc.assert(
    fc.property(anyScript, (script) => {
      const { ca, end } = runAlone(script)
      checkAnswers(ca.events)
      checkCleanUp(ca.events)
      assert.ok(ca.events.filter(({ what }) => what === 'createOrder').length <= 1)
      const downloaded = ca.events.some(({ what }) => what === 'download')
      assert.equal(end.do === 'succeed', downloaded, 'a chain that was downloaded is handed out')
      if (end.do === 'fail') {
        assert.match(end.reason, /^[\x20-\x7e]+$/)
        assert.ok(end.retry.when === 'never' || end.retry.when === 'newOrder', end.retry.when)
      }
    }),
    { numRuns: 3000 },
  )
})

test('an honest CA that validates and issues always leads to a certificate', () => {
  const lawful = anyScript.map((script) => ({
    ...script,
    ...{
      orderLies: [],
      authorizationLies: [],
      challengeLies: [],
      otherNamesAt: undefined,
      expiresInMs: 300_000,
      issues: true,
    },
    solvable: knownTypes,
    offered: script.offered.map((types) => [...types.filter((type) => type !== 'http-01'), 'http-01']),
    validates: [true, true, true, true],
  }))
  fc.assert(fc.property(lawful, (script) => assert.equal(runAlone(script).end.do, 'succeed')))
})

// what it says -----------------------------------------------------------------------------------

function endOf(script: Partial<Script>): Extract<Step, { do: 'fail' }> {
  const { end } = runAlone({ ...honest, ...script })
  assert.ok(end.do === 'fail')
  return end
}

test('a name whose challenges nobody here can answer: which, what the CA offers, what is configured', () => {
  const end = endOf({ names: ['a.example'], offered: [['unknown-01', 'dns-01']], solvable: ['http-01'] })
  assert.deepEqual([end.code, end.retry], ['rejectedIdentifier', { when: 'never' }])
  assert.match(end.reason, /^a\.example .*(unknown-01.*dns-01|dns-01.*unknown-01).* is http-01$/)
  assert.match(endOf({ names: ['a.example'], solvable: [] }).reason, /^a\.example .*no verification is configured/)
})

test('a name that can never be proven the configured way costs no order', () => {
  for (const [name, solvable, needed] of [
    ['*.a.example', ['http-01', 'tls-alpn-01'], 'dns-01'],
    ['192.0.2.1', ['dns-01'], 'http-01'],
    ['192.0.2.1', [], 'http-01'],
  ] as const) {
    const { ca, end } = runAlone({ ...honest, names: ['b.example', name], solvable })
    assert.ok(end.do === 'fail')
    assert.deepEqual([end.code, end.retry, ca.events], ['rejectedIdentifier', { when: 'never' }, []])
    assert.ok(end.reason.startsWith(name) && end.reason.includes(needed), end.reason)
  }
})

test('an order that expired, or is about other names, needs a new one', () => {
  assert.deepEqual(endOf({ expiresInMs: 0 }).retry, { when: 'newOrder' })
  assert.match(endOf({ otherNamesAt: 0 }).reason, /other names/)
})

const orderOf = (more: JsonObject) =>
  parseOrder(`${base}/order/1`, {
    identifiers: [{ type: 'dns', value: 'a.example' }],
    authorizations: [`${base}/authz/1`],
    finalize: `${base}/finalize`,
    ...more,
  })
const failedAuthorization = (error: JsonObject | undefined) =>
  parseAuthorization(`${base}/authz/1`, {
    status: 'invalid',
    identifier: { type: 'dns', value: 'a.example' },
    challenges: [{ type: 'http-01', url: `${base}/chal/1`, token: 'a', status: 'invalid', ...(error && { error }) }],
  })
const asked = [identifierOf('a.example')]
const urn = (code: string) => `urn:ietf:params:acme:error:${code}`

test("a name that could not be validated is told with the CA's words; who we are is never in doubt", () => {
  const told = (error: JsonObject | undefined) => {
    const progress = { ...noProgress, order: orderOf({ status: 'invalid' }), inspected: true }
    const end = nextStep({ ...progress, authorizations: [failedAuthorization(error)] }, asked, ['http-01'], 0)
    assert.ok(end.do === 'fail')
    return end
  }
  const refused = told({ type: urn('connection'), detail: 'connection refused' })
  assert.deepEqual([refused.code, refused.reason], ['connection', 'a.example: connection refused'])
  // RFC 8555 §8.3's validator says unauthorized for a wrong body; a caller must not read it as a 403 of ours.
  for (const code of ['unauthorized', 'malformed', 'serverInternal'])
    assert.equal(told({ type: urn(code), detail: 'wrong body' }).code, 'incorrectResponse', code)
  for (const code of ['dns', 'caa', 'tls', 'rateLimited'] as const)
    assert.equal(told({ type: urn(code), detail: 'x' }).code, code)
  assert.match(told(undefined).reason, /^a\.example: the authorization is invalid/)
})

test('an invalid order is looked into once, and its own problem counts where no authorization failed', () => {
  const order = orderOf({ status: 'invalid', error: { type: urn('badCSR'), detail: 'weak key', status: 400 } })
  const first = nextStep({ ...noProgress, order }, asked, [], 0)
  assert.deepEqual(first, { do: 'inspect', urls: [`${base}/authz/1`] })
  const end = nextStep({ ...noProgress, order, inspected: true }, asked, [], 0)
  assert.ok(end.do === 'fail')
  assert.deepEqual([end.code, end.reason, end.retry], ['badCSR', 'weak key', { when: 'newOrder' }])
})

// 2. under the issuer, which dies ----------------------------------------------------------------

type Crash = 'before' | 'after'
/** What goes wrong outside the CA, step by step and request by request. */
type Trouble = {
  /** The process dies before the step, or after it and before its result is saved. */
  readonly crashAt: ReadonlyMap<number, Crash>
  /** A request that does not arrive, or whose answer is lost. */
  readonly lostAt: ReadonlyMap<number, Crash>
  /** What the CA answers to every request. */
  readonly retryAfterMs?: number
}
const noTrouble: Trouble = { crashAt: new Map(), lostAt: new Map() }

const accountKey: AccountKey = {
  alg: 'ES256',
  publicJwk: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' },
  sign: async () => new Uint8Array(),
}
const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const chainPem = formatPem(
  'CERTIFICATE',
  buildCertificate({
    ...{ kind: 'authority', commonName: 'a chain', publicKey, issuer: { key: privateKey } },
    ...{ notBeforeMs: 0, notAfterMs: 1e12, serial: new Uint8Array(16) },
  }),
)

const block: Block = {
  ...{ name: 'b', credentials: [], covers: () => true, maxNames: 100 },
  ...{ issuer: 'default', verification: 'v', storage: 's', profile: undefined },
}

function grantFor(script: Script): Grant {
  const csr = { der: new Uint8Array([1]), identifiers: script.names.map(identifierOf), publicKey, publicKeyHash: '' }
  const decision = authorize({ remoteAddress: '192.0.2.9', blocks: ['b'] }, csr, [block])
  assert.ok(decision.allowed)
  return decision.grant
}

function createTransportTo(ca: Ca, trouble: Trouble, mayCreateOrder: () => boolean): AcmeTransport {
  let requests = 0
  const lost = () => new ProblemError('serverInternal', 'the CA did not answer', { retry: { when: 'backoff' } })
  const reply = (body: unknown): AcmeReply => ({
    ...{ status: 200, location: ca.url(), retryAfterMs: trouble.retryAfterMs, links: new Map() },
    bodyText: typeof body === 'string' ? body : JSON.stringify(body),
  })
  function answer(url: string): unknown {
    if (url === `${base}/new-order`) {
      assert.ok(mayCreateOrder(), 'a second order for one need')
      return ca.createOrder()
    }
    if (url === `${base}/acct/1`) return { status: 'valid' }
    if (url.startsWith(`${base}/order/`)) return ca.tellOrder()
    if (url.startsWith(`${base}/finalize/`)) return ca.finalize()
    if (url.startsWith(`${base}/cert/`)) return ca.download()
    if (/\/authz\/\d+\/\d+$/.test(url)) return ca.tellAuthorization(url)
    ca.answer(url)
    return {}
  }
  return {
    directory: async () => ({
      ...{ newNonceUrl: `${base}/new-nonce`, newAccountUrl: `${base}/new-account`, newOrderUrl: `${base}/new-order` },
      ...{ externalAccountRequired: false, profiles: new Map() },
    }),
    async post(url) {
      const loss = trouble.lostAt.get(requests++)
      if (loss === 'before') throw lost()
      const body = answer(url)
      if (loss === 'after') throw lost()
      return reply(body)
    },
    get: () => Promise.reject(new Error('nothing here is unsigned')),
    timeMs: async () => undefined,
  }
}

const noLimits: RateLedger = {
  take: async () => undefined,
  charge: async () => undefined,
  giveBack: async () => undefined,
  refill: async () => undefined,
  emptyUntil: async () => undefined,
  empty: async () => undefined,
}

function solverFor(ca: Ca, type: ChallengeType): ChallengeSolver {
  const note = (what: Event['what']) => async (task: { readonly challenge: { readonly url: string } }) => {
    ca.note(what, task.challenge.url)
  }
  return { type, present: note('present'), waitUntilVisible: note('wait'), cleanUp: note('cleanUp') }
}

type Run = {
  readonly ca: Ca
  readonly steps: number
  readonly end: 'done' | ProblemError
  readonly tookMs: number
}

/** The loop of issuance/, with a process that dies where it is told to. */
async function runIssuer(script: Script, trouble: Trouble): Promise<Run> {
  const ca = createCa(script, startMs)
  const world = { nowMs: startMs }
  let saved: Progress | undefined
  let resumed = false
  // An order that was never saved is not known to anybody; one more is then no second one.
  const mayCreateOrder = () => saved?.order === undefined
  const silent = () => undefined
  const context: IssuerContext = {
    signal: new AbortController().signal,
    clock: { nowMs: () => world.nowMs, monotonicMs: () => world.nowMs, sleep: async () => undefined },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    http: { request: () => Promise.reject(new Error('not here')) },
    randomBytes: (length) => new Uint8Array(length),
    solvers: script.solvable.map((type) => solverFor(ca, type)),
  }
  const account = async () => ({ key: accountKey, accountUrl: `${base}/acct/1`, thumbprint: 'thumb' })
  const settings = { directoryUrl: `${base}/directory`, profile: undefined, preferredChain: undefined, limits: {} }
  const transport = createTransportTo(ca, trouble, mayCreateOrder)
  const issuer = createAcmeIssuer(settings, transport, { account, forget: silent }, noLimits)
  const grant = grantFor(script)
  for (let steps = 0; steps < maxSteps; steps++) {
    const crash = trouble.crashAt.get(steps)
    if (crash === 'before') {
      resumed = saved !== undefined
      continue
    }
    try {
      const advance = await issuer.advance(grant, saved, resumed, context)
      if (crash === 'after') {
        resumed = saved !== undefined
        continue
      }
      if (advance.outcome === 'done') return { ca, steps, end: 'done', tookMs: world.nowMs - startMs }
      // As JSON, which is what is left of it in the state.
      saved = JSON.parse(JSON.stringify(advance.progress)) as Progress
      resumed = false
      world.nowMs = Math.max(world.nowMs, advance.notBeforeMs ?? 0)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      if (error.retry.when === 'never' || error.retry.when === 'newOrder')
        return { ca, steps, end: error, tookMs: world.nowMs - startMs }
      resumed = true
    }
  }
  return assert.fail(`no end after ${maxSteps} steps`)
}

function runs(
  script: Script,
  countOf: (run: Run) => number,
  field: keyof Trouble,
): Promise<{ run: Run; at: string }[]> {
  return runIssuer(script, noTrouble).then((whole) =>
    Promise.all(
      Array.from({ length: countOf(whole) + 1 }, (_, at) => at).flatMap((at) =>
        (['before', 'after'] as const).map(async (crash) => ({
          run: await runIssuer(script, { ...noTrouble, [field]: new Map([[at, crash]]) }),
          at: `${crash} ${at}`,
        })),
      ),
    ),
  )
}

const scripts: Readonly<Record<string, Script>> = {
  'a slow CA': honest,
  'a CA that validates at once': { ...honest, readsToValidate: 0, readsToIssue: 0 },
  'a CA that knows two names already': { ...honest, reused: [true, false, true] },
}
const failing: Readonly<Record<string, Script>> = {
  'a name that does not validate': { ...honest, validates: [true, false, true] },
  'a CA that does not issue': { ...honest, issues: false },
  'an order that expires': { ...honest, readsToValidate: 1000, expiresInMs: 60_000 },
}

/** Cleaning up twice is no harm, so it is not counted. */
function withoutRepeats(events: readonly Event[]): Event[] {
  return [...new Map(events.map((event) => [`${event.what} ${event.url}`, event])).values()]
}

test('without trouble the issuer does what the pure fake does', async () => {
  for (const script of Object.values({ ...scripts, ...failing })) {
    const { ca, end } = await runIssuer(script, noTrouble)
    const alone = runAlone(script)
    assert.deepEqual(withoutRepeats(ca.events), alone.ca.events)
    assert.equal(end === 'done', alone.end.do === 'succeed')
  }
})

for (const [name, script] of Object.entries(scripts)) {
  test(`${name}, a crash at every step: one order, one certificate, nothing answered early`, async () => {
    for (const { run, at } of await runs(script, ({ steps }) => steps, 'crashAt')) {
      assert.equal(run.end, 'done', `${at}: ${String(run.end)}`)
      checkAnswers(run.ca.events)
    }
  })
  test(`${name}, every request lost once: one order, one certificate, nothing answered early`, async () => {
    for (const { run, at } of await runs(script, () => 20, 'lostAt')) {
      assert.equal(run.end, 'done', `${at}: ${String(run.end)}`)
      checkAnswers(run.ca.events)
    }
  })
}

for (const [name, script] of Object.entries({ ...scripts, ...failing })) {
  test(`${name}, a crash at every step: nothing is left behind`, async () => {
    const left = []
    for (const { run, at } of await runs(script, ({ steps }) => steps, 'crashAt')) {
      try {
        checkCleanUp(run.ca.events)
      } catch {
        left.push(at)
      }
    }
    assert.deepEqual(left, [], 'crashes after which challenge answers stay for ever')
  })
}

test('a CA that always says "now" is still asked ever more rarely', async () => {
  // Retry-After: 0, or a date that has passed because the clocks differ.
  const { end } = await runIssuer(
    { ...honest, readsToValidate: 1000, expiresInMs: 60_000 },
    { ...noTrouble, retryAfterMs: 0 },
  )
  assert.ok(end !== 'done' && end.message.includes('expired'), String(end))
})

test('a CA that takes the request and stays ready is not sent it again without a pause', async () => {
  const { ca, tookMs } = await runIssuer({ ...honest, orderLies: Array<'ready'>(40).fill('ready') }, noTrouble)
  const finalizes = ca.events.filter(({ what }) => what === 'finalize').length
  assert.ok(finalizes <= 5 || tookMs >= 10_000, `${finalizes} times within ${tookMs} ms`)
})

test("a CA's Retry-After is waited for", async () => {
  const script = { ...honest, readsToValidate: 3, expiresInMs: 60_000 }
  assert.equal((await runIssuer(script, { ...noTrouble, retryAfterMs: 10_000 })).end, 'done')
  const { end } = await runIssuer(script, { ...noTrouble, retryAfterMs: 30_000 })
  assert.ok(end !== 'done' && end.message.includes('expired'), String(end))
})

const anyTrouble: fc.Arbitrary<Trouble> = fc.record({
  crashAt: fc
    .uniqueArray(fc.tuple(fc.nat(25), fc.constantFrom<Crash>('before', 'after')), {
      maxLength: 4,
      selector: ([at]) => at,
    })
    .map((list) => new Map(list)),
  lostAt: fc
    .uniqueArray(fc.tuple(fc.nat(40), fc.constantFrom<Crash>('before', 'after')), {
      maxLength: 4,
      selector: ([at]) => at,
    })
    .map((list) => new Map(list)),
})

test('whatever a CA answers and whatever goes wrong: it ends, one order, nothing answered early', async () => {
  await fc.assert(
    fc.asyncProperty(anyScript, anyTrouble, async (script, trouble) => {
      const { ca } = await runIssuer(script, trouble)
      checkAnswers(ca.events)
    }),
    { numRuns: 1000 },
  )
})

test('whatever a CA answers and whatever goes wrong: nothing is left behind', async () => {
  await fc.assert(
    fc.asyncProperty(anyScript, anyTrouble, async (script, trouble) => {
      const { ca } = await runIssuer(script, trouble)
      checkCleanUp(ca.events)
    }),
    { numRuns: 1000 },
  )
})
