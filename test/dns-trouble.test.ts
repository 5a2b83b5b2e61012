// dns-01 when servers are away, refuse, or come back: what is tried again, and what is not.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProblemError, type Retry } from '../src/acme/problem.ts'
import { lookUp } from '../src/dns/lookup.ts'
import { recordType } from '../src/dns/message.ts'
import type { ChallengeTask, DnsProvider } from '../src/plugin-api.ts'
import { createDns01Solver } from '../src/plugins/challenges/dns01.ts'
import { dns01Options } from '../src/plugins/challenges/dns01-options.ts'
import { dnsUpdateProvider } from '../src/plugins/dns/dns-update.ts'
import { makeContext, noSetup, readValues, txtValues } from './dns-world.ts'
import { startBind, startNamed } from './peers/bind.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const record = { fqdn: '_acme-challenge.www.zone.test', value: 'ours' }

function makeProvider(ports: readonly number[], texts: Record<string, string> = {}): Promise<DnsProvider> {
  const where = { 'dns-server': ports.map((port) => `127.0.0.1:${port}`), timeout: '2' }
  return dnsUpdateProvider.create(readValues(dnsUpdateProvider.options, { ...where, ...texts }), noSetup)
}

async function failureOf(act: Promise<void>): Promise<ProblemError> {
  const failure = await act.then(
    () => undefined,
    (error: unknown) => error,
  )
  assert.ok(failure instanceof ProblemError, String(failure))
  return failure
}

test('of several servers the first that takes the update; away is tried again, refused is not', async (t) => {
  if (!requirePeer(t, 'named')) return
  await using bind = await startBind(['zone.test'])
  await using refusing = await startNamed({ config: '' })
  const dead = await freePort()
  const zone = { zone: 'zone.test' }
  const context = makeContext()
  for (const ports of [
    [dead, bind.port],
    [refusing.port, bind.port],
    [bind.port, dead],
  ]) {
    for (const texts of [{}, zone]) {
      const provider = await makeProvider(ports, texts)
      await provider.addTxt(record, context)
      assert.deepEqual(await txtValues(bind.port, record.fqdn), ['ours'])
      await provider.removeTxt(record, context)
      assert.deepEqual(await txtValues(bind.port, record.fqdn), [])
    }
  }
  const cases: [ports: number[], texts: Record<string, string>, when: Retry['when'], words: RegExp][] = [
    [[dead], {}, 'backoff', new RegExp(`127\\.0\\.0\\.1:${dead} cannot be reached \\(ECONNREFUSED\\)`)],
    [[dead], zone, 'backoff', /cannot be reached/],
    [[refusing.port], zone, 'never', /answered (REFUSED|NOTAUTH)/],
    [[refusing.port, dead], zone, 'backoff', /answered (REFUSED|NOTAUTH).*; .*cannot be reached/],
    [[refusing.port], {}, 'never', /knows no zone for _acme-challenge\.www\.zone\.test/],
    [[bind.port], { zone: 'other.test' }, 'never', /answered NOTAUTH to the update of .* in the zone other\.test/],
  ]
  for (const [ports, texts, when, words] of cases) {
    const failure = await failureOf((await makeProvider(ports, texts)).addTxt(record, context))
    assert.match(failure.message, words)
    assert.deepEqual([failure.code, failure.retry.when], ['dns', when], failure.message)
  }
})

test('a server that there is no way to, and a question that is not asked any more', async () => {
  const away = { host: '2001:db8::53', port: 53 }
  const unroutable = await failureOf(lookUp(away, 'zone.test', recordType.soa, makeContext()).then(() => undefined))
  assert.match(unroutable.message, /the DNS server \[2001:db8::53\]:53 (cannot be reached|did not answer)/)
  const context = makeContext(0, AbortSignal.abort())
  await assert.rejects(lookUp({ host: '127.0.0.1', port: 9 }, 'zone.test', recordType.soa, context))
})

const task: ChallengeTask = {
  identifier: { type: 'dns', value: 'www.zone.test' },
  wildcard: false,
  challenge: { type: 'dns-01', url: 'https://ca.test/challenge', token: 'token', status: 'pending' },
  keyAuthorization: 'token.thumbprint',
  expiresAtMs: Number.POSITIVE_INFINITY,
}
const values = readValues(dns01Options, { 'follow-cname': 'no', 'propagation-timeout': '0' })

test('a record that cannot be removed at once is tried again, unless it is refused', async () => {
  for (const [when, tries] of [
    ['backoff', 3],
    ['never', 1],
  ] as const) {
    let tried = 0
    const away = async () => {
      tried += 1
      throw new ProblemError('dns', 'away', { retry: { when } })
    }
    const context = makeContext()
    const clock = { ...context.clock, sleep: async () => undefined }
    const solver = createDns01Solver({ addTxt: away, removeTxt: away }, values)
    await assert.rejects(solver.cleanUp(task, { ...context, clock }), /away/)
    assert.equal(tried, tries)
  }
})

test('one name is changed by one order at a time, others meanwhile', async () => {
  const log: string[] = []
  const slow = (what: string) => async (txt: { fqdn: string; value: string }) => {
    log.push(`${what} ${txt.fqdn}`)
    await new Promise((resolve) => setImmediate(resolve))
    log.push('done')
    if (what === 'add') throw new Error('a failure keeps nobody waiting')
  }
  const solver = createDns01Solver({ addTxt: slow('add'), removeTxt: slow('remove') }, values)
  const context = makeContext()
  const other = { ...task, keyAuthorization: 'token2.thumbprint' }
  await Promise.allSettled([solver.present(task, context), solver.cleanUp(other, context)])
  const fqdn = '_acme-challenge.www.zone.test'
  assert.deepEqual(log, [`add ${fqdn}`, 'done', `remove ${fqdn}`, 'done'])
  log.length = 0
  const elsewhere = { ...task, identifier: { type: 'dns', value: 'mail.zone.test' } } as const
  await Promise.allSettled([solver.cleanUp(task, context), solver.cleanUp(elsewhere, context)])
  assert.deepEqual(log, [`remove ${fqdn}`, 'remove _acme-challenge.mail.zone.test', 'done', 'done'])
})

test('options of the key that do not fit together', async () => {
  const check = (texts: Record<string, string>) =>
    dnsUpdateProvider.check?.(readValues(dnsUpdateProvider.options, texts))
  check({ 'tsig-name': 'acmems', 'tsig-key': 'YSBzZWNyZXQ=' })
  assert.throws(() => check({ 'tsig-name': 'acmems' }), /without tsig-key/)
  assert.throws(() => check({ 'tsig-key': 'YSBzZWNyZXQ=' }), /needs tsig-name/)
  for (const secret of ['a secret!', 'key "x" { algorithm hmac-md5; secret "YSBzZWNyZXQ="; };']) {
    assert.throws(
      () => check({ 'tsig-name': 'acmems', 'tsig-key': secret }),
      (error: Error) => /base64|hmac-sha256/.test(error.message) && !/a secret|YSBz/.test(error.message),
    )
  }
})
