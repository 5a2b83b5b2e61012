// The real server gets its certificates through the proxy, and meets some of the faults.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, type TestContext, test } from 'node:test'
import { checkChain, checkValidity, parseChain } from '../../src/x509/chain.ts'
import { type Acmems, accountAndHttp01, startAcmems } from '../acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { findPeer, freePort, requirePeer } from '../peers/peers.ts'
import { untilLogged } from '../until.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import type { Rule, SeenRequest } from './rule.ts'
import * as faults from './scenarios.ts'

type World = { readonly pebble: Pebble; readonly proxy: FaultProxy; readonly acmems: Acmems }

const cleanup = new AsyncDisposableStack()

let world: World | undefined
const seed = 7
const peers = ['pebble', 'pebble-challtestsrv', 'openssl'] as const

function startProxy(pebble: Pebble, rules: readonly Rule[] = []) {
  return startFaultProxy({ upstreamUrl: pebble.directoryUrl, upstreamCaFile: pebble.caFile, seed, rules })
}

before(async () => {
  if (!peers.every((name) => findPeer(name) !== undefined)) return
  const pebble = cleanup.use(await startPebble({ httpPort: await freePort(), nonceReject: 0, authzReuse: 0 }))
  const proxy = cleanup.use(await startProxy(pebble))
  const acmems = cleanup.use(
    await startAcmems(`${accountAndHttp01({ ...pebble, ...proxy })}[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
`),
  )
  world = { pebble, proxy, acmems }
})

after(() => cleanup.disposeAsync())

/** The world with the rules that the test is about. */
function inWorld(t: TestContext, rules: readonly Rule[] = []): World | undefined {
  for (const name of peers) if (requirePeer(t, name) === undefined) return undefined
  assert.ok(world !== undefined)
  world.proxy.setRules(rules)
  return world
}

const requestAtCertificate: SeenRequest = {
  ...{ index: 0, endpoint: 'certificate', endpointCount: 1, method: 'POST', path: '/', origin: 'https://ca.example' },
  ...{ payload: undefined, random: () => 0 },
}

test('without rules the real server gets its certificate, and every request is known for what it is', async (t) => {
  const { pebble, proxy, acmems } = inWorld(t) ?? {}
  if (!pebble || !proxy || !acmems) return
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['a.example.test', 'b.example.test'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log())
  const [leaf, issuer] = certificatesOf(reply.text)
  assert.deepEqual(namesOf(leaf), ['DNS:a.example.test', 'DNS:b.example.test'])
  assert.ok(issuer !== undefined && leaf?.checkIssued(issuer))

  const counts = proxy.counts()
  const seen = [
    'directory',
    'newNonce',
    'newAccount',
    'newOrder',
    'order',
    'authorization',
    'challenge',
    'finalize',
  ] as const
  for (const kind of [...seen, 'certificate'] as const) assert.ok(counts[kind] > 0, `no request to ${kind}`)
  assert.equal(counts.other, 0, proxy.log.map(({ path }) => path).join(' '))
  assert.equal(counts.authorization >= 2 && counts.challenge === 2, true)
  assert.deepEqual(
    proxy.log.filter((entry) => entry.actions.length > 0 || !entry.forwarded || entry.error !== undefined),
    [],
  )
  assert.deepEqual(
    proxy.log.map(({ index }) => index),
    proxy.log.map((_, i) => i),
  )
  // The CA's own count is the proxy's; one directory request was the proxy's greeting.
  const atCa = [...pebble.requests()].reduce((sum, [, count]) => sum + count, 0)
  assert.equal(atCa - 1, proxy.log.length)
})

test('nonces used before: the CA refuses, and the real server comes through', async (t) => {
  const { proxy, acmems } =
    inWorld(t, faults.narrowRules(faults.staleNonces(1), { endpoint: 'newOrder', times: 1 })) ?? {}
  if (!proxy || !acmems) return
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['stale.example.test'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log())
  const spoilt = proxy.log.findLastIndex(({ actions }) => actions.includes('staleNonce'))
  assert.equal(proxy.log.slice(spoilt).filter(({ problem }) => problem === 'badNonce').length, 1)
})

test('an order that stays processing for a while, in lists that are shuffled, with unknown challenges', async (t) => {
  const rules = [...faults.stuckProcessing(2), ...faults.shuffledLists(), ...faults.unknownChallenges()]
  const { proxy, acmems } = inWorld(t, rules) ?? {}
  if (!proxy || !acmems) return
  const from = proxy.log.length
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['c.example.test', 'd.example.test'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log())
  const requests = proxy.log.slice(from)
  const finalizedAt = requests.findIndex(({ endpoint }) => endpoint === 'finalize')
  const polls = requests.slice(finalizedAt).filter(({ endpoint }) => endpoint === 'order').length
  assert.ok(polls >= 2, `${polls} polls`)
})

test('certificates that must not be taken: each is wrong in one thing only', async (t) => {
  const { acmems, proxy } = inWorld(t) ?? {}
  if (!acmems || !proxy) return
  const names = ['forged.example.test', 'www.forged.example.test']
  const { text } = await postCsr(acmems.signUrl, makeCsr({ names }))
  const { leaf } = parseChain(text)
  const spki = leaf.x509.publicKey.export({ type: 'spki', format: 'der' })
  const need = { identifiers: leaf.identifiers, publicKeyHash: createHash('sha256').update(spki).digest('hex') }
  const check = (chainPem: string) => {
    const chain = parseChain(chainPem)
    checkChain(chain, need)
    checkValidity(chain, Date.now())
  }
  check(text)
  check(faults.forgeChain(text, {}))
  const cases: readonly (readonly [Rule[], RegExp])[] = [
    [faults.wrongKey(), /another key/],
    [faults.wrongNames(['other.example']), /other names/],
    [faults.expiredCertificate(), /expired/],
    [faults.futureCertificate(7_200_000), /not valid yet/],
    [faults.privateKeyInChain(), /holds a PRIVATE KEY/],
    [faults.brokenChain(), /not issued by the one after it/],
  ]
  for (const [[rule], reason] of cases) {
    assert.ok(rule !== undefined && 'do' in rule.action && rule.action.do === 'replaceBody')
    const { body } = rule.action
    assert.ok(typeof body === 'function')
    const forged = await body(text, requestAtCertificate)
    assert.throws(() => check(forged), { name: 'ChainError', message: reason })
  }
  proxy.setRules(faults.wrongKey())
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['wrong-key.example.test'] }))
  assert.notEqual(reply.status, 200)
  await untilLogged(acmems, /the certificate is for another key/)
  assert.deepEqual(proxy.log.findLast(({ endpoint }) => endpoint === 'certificate')?.actions, ['replaceBody'])
})

test('a lost reply at finalize costs no second certificate', async (t) => {
  const { acmems, proxy, pebble } = inWorld(t, faults.lostReplies(['finalize'])) ?? {}
  if (!acmems || !proxy || !pebble) return
  const before = pebble.issuedCount()
  const csr = makeCsr({ names: ['lost.example.test'] })
  let reply = await postCsr(acmems.signUrl, csr)
  for (let i = 0; i < 5 && reply.status !== 200; i++) reply = await postCsr(acmems.signUrl, csr)
  assert.equal(reply.status, 200, reply.text + acmems.log())
  assert.equal(pebble.issuedCount() - before, 1)
  const lost = proxy.log.findLast(({ actions }) => actions.includes('cutAfter'))
  assert.deepEqual([lost?.endpoint, lost?.forwarded, lost?.status], ['finalize', true, undefined])
})

test('what does not hurt the real server, and what it tells to whoever asked', async (t) => {
  const { acmems, proxy } = inWorld(t) ?? {}
  if (!acmems || !proxy) return
  const cases: readonly (readonly [string, Rule[], number, RegExp])[] = [
    ['profiles', faults.advertisedProfiles(['classic']), 200, /BEGIN CERTIFICATE/],
    ['keychange', faults.directoryWithout('keyChange'), 200, /BEGIN CERTIFICATE/],
    ['leaf', faults.withoutIntermediate(), 200, /BEGIN CERTIFICATE/],
    ['short', faults.shortCertificate(3_600_000), 200, /BEGIN CERTIFICATE/],
    ['rejected', faults.rejectedName('rejected.example.test'), 403, /policy forbids rejected\.example\.test/],
    ['caa', faults.caaForbids(), 421, /CAA record prevents issuance/],
    ['validation', faults.failedValidation('dns'), 421, /the fault proxy says so/],
  ]
  for (const [name, rules, status, words] of cases) {
    proxy.setRules(rules)
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: [`${name}.example.test`] }))
    assert.equal(reply.status, status, `${name}: ${reply.text}`)
    assert.match(reply.text, words, name)
  }
})

test('a server killed at exactly one request goes on where it was', async (t) => {
  if (!inWorld(t)) return
  await using pebble = await startPebble({ httpPort: await freePort(), nonceReject: 0, authzReuse: 0 })
  using folder = makeTempFolder('faults-killed')
  let victim: Acmems | undefined
  const kill = () => {
    if (victim !== undefined) process.kill(victim.pid, 'SIGKILL')
  }
  const rules: Rule[] = [{ endpoint: 'finalize', nth: 1, action: { do: 'onRequest', after: kill } }]
  await using proxy = await startProxy(pebble, rules)
  const config = `${accountAndHttp01({ ...pebble, ...proxy })}[auth "all of it"]
ip = 127.0.0.0/8
domain = **.example.test
`
  const csr = makeCsr({ names: ['killed.example.test'] })
  victim = await startAcmems(config, { folder: folder.path })
  await assert.rejects(postCsr(victim.signUrl, csr))
  await victim.stop()
  await using acmems = await startAcmems(config, { folder: folder.path })
  const reply = await postCsr(acmems.signUrl, csr)
  assert.equal(reply.status, 200, reply.text + acmems.log())
  assert.equal(pebble.issuedCount(), 1)
  assert.deepEqual([proxy.counts().newOrder, proxy.counts().finalize], [1, 1])
})
