// The providers with HTTP APIs, each against a local server that behaves as its API is documented to.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DnsProvider, ErasedPlugin, ProblemError } from '../src/plugin-api.ts'
import { cloudflareProvider } from '../src/plugins/dns/cloudflare.ts'
import { digitaloceanProvider } from '../src/plugins/dns/digitalocean.ts'
import { gandiProvider } from '../src/plugins/dns/gandi.ts'
import { hetznerProvider } from '../src/plugins/dns/hetzner.ts'
import { route53Provider } from '../src/plugins/dns/route53.ts'
import type { ApiAnswer, ProviderApi } from './dns-apis/api-server.ts'
import { startCloudflare } from './dns-apis/cloudflare.ts'
import { startDigitalOcean } from './dns-apis/digitalocean.ts'
import { startGandi } from './dns-apis/gandi.ts'
import { startHetzner } from './dns-apis/hetzner.ts'
import { startRoute53 } from './dns-apis/route53.ts'
import { createProvider, providerContext } from './dns-providers.ts'

const zones = ['example.org', 'sub.example.org', 'other.test']
const fqdn = '_acme-challenge.www.sub.example.org'

type Subject = {
  readonly plugin: ErasedPlugin<'dns'>
  readonly start: (zones: readonly string[]) => Promise<ProviderApi>
  readonly provider: string
  /** In the provider's words. */
  readonly wrongToken: RegExp
}

const subjects: readonly Subject[] = [
  {
    plugin: cloudflareProvider,
    start: startCloudflare,
    provider: 'Cloudflare',
    wrongToken: /403 .*Invalid access token \(9109\)/,
  },
  {
    plugin: digitaloceanProvider,
    start: startDigitalOcean,
    provider: 'DigitalOcean',
    wrongToken: /401 .*Unable to authenticate you/,
  },
  { plugin: gandiProvider, start: startGandi, provider: 'Gandi', wrongToken: /401 .*could not verify/ },
  {
    plugin: hetznerProvider,
    start: startHetzner,
    provider: 'Hetzner',
    wrongToken: /401 .*token you provided is invalid \(unauthorized\)/,
  },
  {
    plugin: route53Provider,
    start: startRoute53,
    provider: 'Route 53',
    wrongToken: /403 .*does not match.*\(SignatureDoesNotMatch\)/,
  },
]

const words = 'the-providers-own-words'
const slowDown = (seconds: number): ApiAnswer => ({
  status: 429,
  body: words,
  headers: { 'retry-after': `${seconds}` },
})

async function failureOf(attempt: Promise<void>): Promise<ProblemError> {
  return attempt.then(
    () => assert.fail('it should have failed'),
    (error: ProblemError) => error,
  )
}

for (const { plugin, start, provider: name, wrongToken } of subjects) {
  test(`${plugin.name}: values of others stay, ours come and go one by one`, async () => {
    await using api = await start(zones)
    const context = providerContext()
    const provider = await createProvider(plugin, api.options)
    api.seed(fqdn, '"of another"')
    await provider.addTxt({ fqdn, value: 'one' }, context)
    await provider.addTxt({ fqdn, value: 'one' }, context)
    await provider.addTxt({ fqdn, value: 'two' }, context)
    assert.deepEqual(api.values(fqdn), ['of another', 'one', 'two'])
    await provider.removeTxt({ fqdn, value: 'one' }, context)
    await provider.removeTxt({ fqdn, value: 'never there' }, context)
    assert.deepEqual(api.values(fqdn), ['of another', 'two'])
    await provider.removeTxt({ fqdn, value: 'two' }, context)
    assert.deepEqual(api.values(fqdn), ['of another'])
    await provider.removeTxt({ fqdn: '_acme-challenge.nothing.other.test', value: 'x' }, context)
  })

  test(`${plugin.name}: many at once, from two instances, keep every value`, async () => {
    await using api = await start(zones)
    const providers = [await createProvider(plugin, api.options), await createProvider(plugin, api.options)] as [
      DnsProvider,
      DnsProvider,
    ]
    const values = ['a', 'b', 'c', 'd', 'e', 'f']
    await Promise.all(
      values.map((value, index) => providers[index % 2 === 0 ? 0 : 1].addTxt({ fqdn, value }, providerContext())),
    )
    assert.deepEqual(api.values(fqdn), values)
    await Promise.all(values.slice(1).map((value) => providers[0].removeTxt({ fqdn, value }, providerContext())))
    assert.deepEqual(api.values(fqdn), ['a'])
    await providers[1].removeTxt({ fqdn, value: 'a' }, providerContext())
    assert.deepEqual(api.values(fqdn), [])
  })

  test(`${plugin.name}: a zone itself, a zone that is named, and no zone`, async () => {
    await using api = await start([...zones, '_acme-challenge.apex.test'])
    const provider = await createProvider(plugin, api.options)
    await provider.addTxt({ fqdn: '_acme-challenge.apex.test', value: 'x' }, providerContext())
    assert.deepEqual(api.values('_acme-challenge.apex.test'), ['x'])
    const named = await createProvider(plugin, { ...api.options, zone: 'Example.org.' })
    await named.addTxt({ fqdn: '_acme-challenge.a.example.org', value: 'x' }, providerContext())
    assert.deepEqual(api.values('_acme-challenge.a.example.org'), ['x'])
    const elsewhere = named.addTxt({ fqdn: '_acme-challenge.other.test', value: 'x' }, providerContext())
    assert.match((await failureOf(elsewhere)).message, /no zone for _acme-challenge\.other\.test .*zone = example\.org/)
    const unknown = await failureOf(
      provider.addTxt({ fqdn: '_acme-challenge.a.unknown.test', value: 'x' }, providerContext()),
    )
    assert.match(
      unknown.message,
      new RegExp(
        `^${name} has no zone for .*asked for _acme-challenge\\.a\\.unknown\\.test, a\\.unknown\\.test, unknown\\.test$`,
      ),
    )
    assert.deepEqual([unknown.code, unknown.retry.when], ['dns', 'never'])
  })

  test(`${plugin.name}: refusals in the provider's words, without the secret`, async () => {
    await using api = await start(zones)
    const wrong = await createProvider(plugin, api.wrongOptions)
    const error = await failureOf(wrong.addTxt({ fqdn, value: 'x' }, providerContext()))
    assert.match(error.message, wrongToken)
    assert.match(error.message, /check the token/)
    assert.doesNotMatch(error.message, /a-wrong/)
    assert.deepEqual([error.code, error.retry.when], ['dns', 'never'])

    const provider = await createProvider(plugin, api.options)
    const secret = Object.entries(api.options).find(([key]) => key === 'token' || key.startsWith('secret'))?.[1]
    api.failNext('GET', { status: 422, body: `${words} ${secret}` })
    const told = await failureOf(provider.addTxt({ fqdn, value: 'x' }, providerContext()))
    assert.match(told.message, new RegExp(`^${name} answered 422 to GET /\\S+: ${words} \\[secret\\]$`))
    assert.equal(told.retry.when, 'never')
  })

  test(`${plugin.name}: what passes is asked again, what does not says when to come back`, async () => {
    await using api = await start(zones)
    const provider = await createProvider(plugin, api.options)
    api.failNext('GET', slowDown(0), { status: 502, body: '<html>' })
    await provider.addTxt({ fqdn, value: 'x' }, providerContext())
    assert.deepEqual(api.values(fqdn), ['x'])
    const before = api.calls.length
    api.failNext('GET', slowDown(120))
    const limited = await failureOf(provider.addTxt({ fqdn, value: 'y' }, providerContext()))
    assert.equal(api.calls.length, before + 1, 'not asked again')
    assert.ok(limited.retry.when === 'notBefore' && Math.abs(limited.retry.atMs - Date.now() - 120_000) < 20_000)
    api.failNext('GET', ...Array.from({ length: 3 }, () => ({ status: 500, body: words })))
    const broken = await failureOf(provider.addTxt({ fqdn, value: 'y' }, providerContext()))
    assert.match(broken.message, new RegExp(`${name} answered 500 .*${words}`))
    assert.equal(broken.retry.when, 'backoff')
  })

  test(`${plugin.name}: too much of an answer, nonsense, nobody there`, async () => {
    await using api = await start(zones)
    const provider = await createProvider(plugin, api.options)
    api.failNext('GET', ...Array.from({ length: 3 }, () => ({ status: 200, body: 'x'.repeat(2 * 1024 * 1024) })))
    const flood = await failureOf(provider.addTxt({ fqdn, value: 'x' }, providerContext()))
    assert.match(flood.message, /sent an answer of more than 1048576 bytes/)
    if (plugin !== route53Provider) {
      api.failNext('GET', { status: 200, body: '<html>' })
      const nonsense = await failureOf(provider.addTxt({ fqdn, value: 'x' }, providerContext()))
      assert.match(nonsense.message, /sent something that is no JSON object/)
    }
    await api[Symbol.asyncDispose]()
    const gone = await failureOf(provider.addTxt({ fqdn, value: 'x' }, providerContext()))
    assert.match(gone.message, /cannot be reached \((ECONNREFUSED|UND_ERR_SOCKET)\)/)
    assert.equal(gone.retry.when, 'backoff')
  })

  test(`${plugin.name}: no secret in the clear`, async () => {
    const options = { token: 'x', 'access-key-id': 'x', 'secret-access-key': 'x' }
    const known = Object.fromEntries(Object.entries(options).filter(([key]) => key in plugin.options))
    const at = (endpoint: string) => createProvider(plugin, { ...known, endpoint })
    await assert.rejects(at('http://api.example.org'), /would send the secret in the clear/)
    await assert.rejects(at('https://user@api.example.org'), /no user/)
    await assert.rejects(at('ftp://api.example.org'), /is no address/)
    await at('https://api.example.org/v9/')
    await at('http://[::1]:8080')
  })
}

for (const { plugin, start } of subjects.slice(0, 2)) {
  test(`${plugin.name}: the value is found on a later page`, async () => {
    await using api = await start(zones)
    for (let index = 0; index < 450; index++) api.seed(fqdn, `other-${index}`)
    const provider = await createProvider(plugin, api.options)
    await provider.addTxt({ fqdn, value: 'ours' }, providerContext())
    await provider.addTxt({ fqdn, value: 'ours' }, providerContext())
    assert.equal(api.values(fqdn).filter((value) => value === 'ours').length, 1)
    await provider.removeTxt({ fqdn, value: 'ours' }, providerContext())
    assert.equal(api.values(fqdn).length, 450)
    assert.ok(!api.values(fqdn).includes('ours'))
  })
}

test('dns01-hetzner: an action that fails says so', async () => {
  await using api = await startHetzner(zones)
  const provider = await createProvider(hetznerProvider, api.options)
  await provider.addTxt({ fqdn, value: 'x' }, providerContext())
  api.failAction()
  const error = await failureOf(provider.addTxt({ fqdn, value: 'y' }, providerContext()))
  assert.match(error.message, /Hetzner's action add_records \(\d+\) failed: Action failed \(action_failed\)/)
})

test('dns01-route53: who is overtaken looks again, and nothing of the other is lost; waits until the change is in sync', async () => {
  await using api = await startRoute53(zones)
  const provider = await createProvider(route53Provider, api.options)
  api.seed(fqdn, '"one \\"two\\"" "three"')
  api.beforeChange(() => api.seed(fqdn, '"quicker"'))
  await provider.addTxt({ fqdn, value: 'ours' }, providerContext())
  assert.deepEqual(api.values(fqdn), ['one \\"two\\"" "three', 'ours', 'quicker'])
  const before = api.calls.length
  await provider.waitUntilVisible?.({ fqdn, value: 'ours' }, providerContext())
  assert.deepEqual(
    api.calls.slice(before).map(({ path }) => path.replace(/C\d+$/, '')),
    ['/2013-04-01/change/', '/2013-04-01/change/'],
  )
  await provider.waitUntilVisible?.({ fqdn, value: 'ours' }, providerContext())
  assert.equal(api.calls.length, before + 2, 'waited for once')
  api.beforeChange(() => api.seed(fqdn, '"again quicker"'))
  await provider.removeTxt({ fqdn, value: 'ours' }, providerContext())
  assert.deepEqual(api.values(fqdn), ['again quicker', 'one \\"two\\"" "three', 'quicker'])
})

test('dns01-route53: a status of 400 that means "not now" is asked again', async () => {
  await using api = await startRoute53(zones)
  const provider = await createProvider(route53Provider, api.options)
  const busy = '<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>'
  api.failNext('POST', { status: 400, body: busy })
  await provider.addTxt({ fqdn, value: 'x' }, providerContext())
  assert.deepEqual(api.values(fqdn), ['x'])
})

test('dns01-route53: the zone by its id, without looking it up', async () => {
  await using api = await startRoute53(zones)
  const id = `Z${Buffer.from('example.org').toString('hex').toUpperCase().slice(0, 20)}`
  const provider = await createProvider(route53Provider, { ...api.options, 'hosted-zone-id': `/hostedzone/${id}` })
  await provider.addTxt({ fqdn: '_acme-challenge.example.org', value: 'x' }, providerContext())
  assert.deepEqual(api.values('_acme-challenge.example.org'), ['x'])
  assert.ok(api.calls.every(({ path }) => path.includes(id)))
})

test('dns01-gandi: what somebody else overwrote at the same moment is written again', async () => {
  await using api = await startGandi(zones)
  const provider = await createProvider(gandiProvider, api.options)
  api.failNext('PUT', { status: 201, body: { message: 'DNS Record Created' } })
  await provider.addTxt({ fqdn, value: 'x' }, providerContext())
  assert.deepEqual(api.values(fqdn), ['x'])
})

test('dns01-gandi: a domain that the token may not see is passed over; if there is no other, its answer is told', async () => {
  await using api = await startGandi(zones)
  const provider = await createProvider(gandiProvider, api.options)
  const denied = { status: 403, body: { code: 403, message: 'Access was denied to this resource.' } }
  api.failNext('GET', denied)
  await provider.addTxt({ fqdn, value: 'x' }, providerContext())
  assert.deepEqual(api.values(fqdn), ['x'])
  api.failNext('GET', denied, denied)
  const error = await failureOf(
    provider.addTxt({ fqdn: '_acme-challenge.foreign.test', value: 'x' }, providerContext()),
  )
  assert.match(error.message, /no zone for _acme-challenge\.foreign\.test .*its answer was 403: Access was denied/)
})
