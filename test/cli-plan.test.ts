// acmems plan: what becomes of entries that are put into a state by hand, and the forecast on its own.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { RateBucket } from '../src/acme/rate-limit.ts'
import { type Forecastable, forecast } from '../src/cli/plan-forecast.ts'
import type { RegisterEntry } from '../src/issuance/records.ts'
import { planRenewal } from '../src/issuance/renewal-plan.ts'
import { openState } from '../src/state/state.ts'
import { runCommand, runJson } from './command.ts'
import { makeTempFolder } from './peers/child.ts'

const dayMs = 24 * 3_600_000
const directoryUrl = 'https://ca.example/dir'
const here = `acme:${directoryUrl}`

/** A ledger counts a second or two more than the CA. */
const days = (ms: number) => Math.round(ms / dayMs)

// the forecast -----------------------------------------------------------------------------------

const bucket: RateBucket = { issuerKey: here, limit: 'domain', subject: 'a.example', capacity: 5, periodMs: 5 * dayMs }

function certificate(
  id: string,
  dueInMs: number,
  buckets: readonly RateBucket[],
  lifetimeMs = 90 * dayMs,
): Forecastable {
  const leftMs = lifetimeMs / 3
  return {
    ...{ id, dueAtMs: dueInMs, notBeforeMs: dueInMs + leftMs - lifetimeMs, notAfterMs: dueInMs + leftMs, leftMs },
    bucketsOf: () => buckets,
  }
}

test('a bucket that suffices holds nothing up; beyond it one comes through whenever one is free', () => {
  const many = Array.from({ length: 7 }, (_, i) => certificate(`c${i}`, 0, [bucket]))
  const renewals = forecast(many, new Map(), 0, dayMs)
  // A fifth is left for needs that cannot wait: four at once, then one a day.
  assert.deepEqual(
    renewals.map(({ atMs }) => days(atMs)),
    [0, 0, 0, 0, 1, 2, 3],
  )
  assert.deepEqual(
    renewals.map(({ heldUpBy }) => heldUpBy?.limit),
    [undefined, undefined, undefined, undefined, 'domain', 'domain', 'domain'],
  )
  assert.ok(forecast(many.slice(0, 4), new Map(), 0, dayMs).every(({ heldUpBy }) => heldUpBy === undefined))
})

test('what is used already counts; what comes later finds what has come back meanwhile', () => {
  const used = new Map([[`${here}\0domain\0a.example`, 5 * dayMs]])
  const [first] = forecast([certificate('c', 0, [bucket])], new Map(used), 0, dayMs)
  assert.equal(days(first?.atMs ?? 0), 2)
  const [later] = forecast([certificate('c', 6 * dayMs, [bucket])], new Map(used), 0, 10 * dayMs)
  assert.deepEqual([later?.atMs, later?.heldUpBy], [6 * dayMs, undefined])
})

test('short lives come again and again; what a limit lets die is said', () => {
  const short = forecast([certificate('six days', dayMs, [], 6 * dayMs)], new Map(), 0, 30 * dayMs)
  assert.deepEqual(
    short.map(({ wantedAtMs }) => wantedAtMs / dayMs),
    [1, 5, 9, 13, 17, 21, 25, 29],
  )
  const one: RateBucket = { ...bucket, capacity: 1, periodMs: 40 * dayMs }
  const two = [certificate('a', 0, [one]), certificate('b', 0, [one])]
  assert.deepEqual(
    forecast(two, new Map(), 0, dayMs).map(({ atMs, tooLate }) => [days(atMs), tooLate]),
    [
      [0, false],
      [40, true],
    ],
  )
})

test('a hundred thousand certificates are planned in seconds', () => {
  const many = Array.from({ length: 100_000 }, (_, i) => certificate(`c${i}`, i * 1000, [bucket]))
  const startedMs = performance.now()
  assert.equal(forecast(many, new Map(), 0, 59 * dayMs).length, 100_000)
  assert.ok(performance.now() - startedMs < 10_000)
})

// the command ------------------------------------------------------------------------------------

type Wish = Partial<RegisterEntry> & {
  readonly name: string
  readonly endsInDays: number
  readonly lifetimeDays?: number
}

function entry({ name, endsInDays, lifetimeDays = 90, ...more }: Wish): RegisterEntry {
  const notAfterMs = Date.now() + endsInDays * dayMs
  const notBeforeMs = notAfterMs - lifetimeDays * dayMs
  return {
    ...{ id: Buffer.from(name).toString('hex').padEnd(64, '0'), names: [name], block: 'lab', issuer: 'default' },
    ...{ storage: 'default', profile: undefined, postedBytes: Buffer.from(''), remoteAddress: '127.0.0.1' },
    ...{ issuedBy: here, serial: Buffer.from(name).toString('hex').toUpperCase(), notBeforeMs, notAfterMs },
    ...{ issuedAtMs: notBeforeMs, askedAtMs: notBeforeMs },
    plan: planRenewal({ notBeforeMs, notAfterMs }, undefined, notBeforeMs, 0),
    ...more,
  }
}

type Plan = {
  readonly perDay: readonly { readonly day: string; readonly renewals: number; readonly heldUp: number }[]
  readonly renewals: readonly {
    readonly names: readonly string[]
    readonly why: string
    readonly wanted: string
    readonly at: string
  }[]
  readonly limits: readonly {
    readonly limit: string
    readonly subject: string
    readonly count: number
    readonly day: string
  }[]
}

async function makeState(folder: string, entries: readonly RegisterEntry[]): Promise<string> {
  const url = `sqlite:${join(folder, 'state.db')}`
  await using state = await openState(url, () => Date.now())
  for (const one of entries) await state.register.record(one, false)
  const config = join(folder, 'acmems.ini')
  writeFileSync(config, `[account]\nacme-server = ${directoryUrl}\nlimit-domain = 10/10d\n[state]\nurl = ${url}\n`)
  return config
}

test('plan: what is in use, in its order, and not what nobody asks for', async () => {
  using folder = makeTempFolder('plan')
  const endMs = Date.now() + 20 * dayMs
  const config = await makeState(folder.path, [
    entry({ name: 'soon.a.example', endsInDays: 35 }),
    entry({ name: 'later.a.example', endsInDays: 55 }),
    entry({ name: 'much-later.a.example', endsInDays: 85 }),
    entry({ name: 'unused.a.example', endsInDays: 35, issuedAtMs: Date.now() }),
    entry({ name: 'superseded.a.example', endsInDays: 35, supersededAtMs: Date.now() }),
    entry({ name: 'revoked.a.example', endsInDays: 35, revokedAtMs: Date.now() }),
    entry({
      ...{ name: 'window.a.example', endsInDays: 80 },
      plan: {
        ...{ ownAtMs: endMs, backstopAtMs: endMs, checkAtMs: endMs, checkFailures: 0, failures: 0, retryAtMs: 0 },
        ...{ info: { startMs: Date.now(), endMs }, chosenAtMs: Date.now() + dayMs },
      },
    }),
  ])
  const plan = await runJson<Plan>(['plan', config])
  assert.deepEqual(
    plan.renewals.map(({ names, why }) => [names[0], why]),
    [
      ['window.a.example', "the CA's window"],
      ['soon.a.example', 'lifetime'],
      ['later.a.example', 'lifetime'],
    ],
  )
  assert.ok(Math.abs(Date.parse(plan.renewals[1]?.wanted ?? '') - (Date.now() + 5 * dayMs)) < 60_000)
  assert.deepEqual(plan.limits, [])
  assert.equal((await runJson<Plan>(['plan', '--days', '3', config])).renewals.length, 1)
  const text = await runCommand(['plan', config])
  assert.match(
    text.out,
    /^WHEN +ID +NAMES +BLOCK +ISSUER +WHY\n.*window\.a\.example.*\n.*soon\.a\.example.* lifetime\n/,
  )
  assert.match(text.out, /\n3 renewals in the next 30 days; no limit is hit\n$/)
  const none = await runCommand(['plan', '--days', '0.5', config])
  assert.equal(none.out, 'nothing is to be renewed in the next 0.5 days\n')
})

test('plan: certificates of another CA are new orders here, and meet the limits', async () => {
  using folder = makeTempFolder('plan')
  const config = await makeState(folder.path, [
    ...Array.from({ length: 50 }, (_, i) =>
      entry({ name: `n${i}.a.example`, endsInDays: 32, issuedBy: 'acme:https://other.example' }),
    ),
    ...Array.from({ length: 20 }, (_, i) => entry({ name: `own${i}.b.example`, endsInDays: 32 })),
  ])
  const plan = await runJson<Plan>(['plan', config])
  assert.equal(plan.renewals.length, 70)
  // Eight at once (two are left for what cannot wait), then one a day; those of this CA are exempt.
  const day = new Date(Date.now() + 2 * dayMs).toISOString().slice(0, 10)
  assert.deepEqual(
    plan.limits.map(({ limit, subject, count, day: first }) => [limit, subject, count, first]),
    [['domain', 'a.example', 42, day]],
  )
  assert.deepEqual(plan.perDay, [{ day, renewals: 70, heldUp: 42 }])
  const text = (await runCommand(['plan', config])).out
  assert.match(text, /^DAY +RENEWALS +HELD UP\n\d{4}-\d\d-\d\d +70 +42\n/)
  assert.match(text, /certificates for the registered domain +a\.example +42 +\d{4}-/)
  assert.match(text, /n\d+\.a\.example ends before it can be renewed, at \d{4}-/)
})

test('certs list: every state has its word, and the reason of a renewal is told', async () => {
  using folder = makeTempFolder('plan')
  const nowMs = Date.now()
  const own = entry({ name: 'x.example', endsInDays: 60 })
  const config = await makeState(folder.path, [
    entry({ name: 'used.example', endsInDays: 60 }),
    entry({ name: 'asked.example', endsInDays: 60, plan: { ...own.plan, asked: true } }),
    entry({ name: 'within.example', endsInDays: 60, plan: planRenewal(own, 50 * dayMs, nowMs, 0.5) }),
    entry({
      name: 'failing.example',
      endsInDays: 60,
      lastError: 'no\u001b[31m luck',
      plan: { ...own.plan, failures: 2, retryAtMs: nowMs + 60 * dayMs },
    }),
    entry({ name: 'unused.example', endsInDays: 60, issuedAtMs: nowMs }),
    entry({ name: 'superseded.example', endsInDays: 60, supersededAtMs: nowMs }),
    entry({ name: 'revoked.example', endsInDays: 60, revokedAtMs: nowMs }),
    entry({ name: 'over.example', endsInDays: -1 }),
  ])
  const all = await runJson<{ names: string[]; state: string; nextRenewal?: { why: string } }[]>([
    'certs',
    'list',
    config,
  ])
  assert.deepEqual(
    Object.fromEntries(all.map(({ names, state, nextRenewal }) => [names[0], [state, nextRenewal?.why]])),
    {
      'used.example': ['in use', 'lifetime'],
      'asked.example': ['in use', 'asked for'],
      'within.example': ['in use', 'renew-within'],
      'failing.example': ['failing', 'again after a failure'],
      'unused.example': ['not asked for', undefined],
      'superseded.example': ['superseded', undefined],
      'revoked.example': ['revoked', undefined],
      'over.example': ['expired', 'lifetime'],
    },
  )
  const text = (await runCommand(['certs', 'list', config])).out
  assert.match(text, /failing: no \[31m luck/, 'what a CA says cannot paint the terminal')
  assert.equal(all[0]?.names[0], 'over.example', 'the nearest end first')
})

test('every command of a command has help with an example of itself', async () => {
  const commands = [
    ...['list', 'show', 'renew', 'revoke'].map((name) => ['certs', name]),
    ...['list', 'show'].map((name) => ['orders', name]),
    ...['show', 'update', 'rollover', 'deactivate'].map((name) => ['account', name]),
    ...['certs', 'orders', 'account', 'plan', 'limits'].map((name) => [name]),
  ]
  const outcomes = await Promise.all(commands.map((words) => runCommand([...words, '--help'])))
  for (const [index, { code, out }] of outcomes.entries()) {
    const name = commands[index]?.join(' ')
    assert.equal(code, 0)
    assert.match(out, new RegExp(`\nExamples:\n  acmems ${name}`))
    assert.ok(out.includes('--json') || commands[index]?.length === 1, name)
  }
})
