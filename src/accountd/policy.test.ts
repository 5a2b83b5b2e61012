// What is signed and what is not; and every way that was thought of to write the one as the other.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseNamePattern } from '../policy/name-pattern.ts'
import { parseSigningRequest, type SigningRequest } from '../remote-key/protocol.ts'
import { judge, type Policy } from './policy.ts'
import { createRateGauge } from './rate.ts'

const kid = 'https://ca.example/acme/acct/1'
const at = (path: string) => `https://ca.example/acme/${path}`

function ask(header: Record<string, unknown> | string, payload: unknown = ''): SigningRequest {
  const encode = (value: unknown) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  const request = parseSigningRequest(`${encode(header)}.${encode(payload)}`)
  assert.ok(!('malformed' in request), JSON.stringify(request))
  return request
}

const headerFor = (url: string, more: Record<string, unknown> = {}) => ({ alg: 'ES256', kid, nonce: 'n', url, ...more })
const account: Policy = { reach: 'account', origins: [], accountUrl: undefined, names: undefined }
const issuing: Policy = { reach: 'issuing', origins: ['https://ca.example'], accountUrl: kid, names: undefined }
const open: Policy = { ...issuing, accountUrl: undefined }
const everything: Policy = { ...account, reach: 'everything' }
const named: Policy = {
  ...issuing,
  names: {
    patterns: ['*.example.org', 'a.example.com'].map(parseNamePattern),
    addresses: ['2001:db8::1'],
    wildcards: false,
  },
}
const signs = (request: SigningRequest, policy: Policy) => judge(request, 'ES256', policy).sign

const order = { identifiers: [{ type: 'dns', value: 'www.example.org' }] }
const wanted: readonly [string, string, unknown][] = [
  ['reading the account', kid, ''],
  ['reading an order', at('order/1/2'), ''],
  ['an order', at('new-order'), order],
  ['an order with profile and predecessor', at('new-order'), { ...order, profile: 'tlsserver', replaces: 'a.b' }],
  ['a challenge', at('chall/1/2/x'), {}],
  ['finalization', at('finalize/1/2'), { csr: 'MII' }],
  ['revocation', at('revoke-cert'), { certificate: 'MII', reason: 1 }],
  ['giving up a name', at('authz/1/2'), { status: 'deactivated' }],
  ['giving up a name at Pebble', 'https://ca.example/authZ/xyz', { status: 'deactivated' }],
]
const managing: readonly [string, string, unknown][] = [
  ['contact', kid, { contact: ['mailto:a@example.org'] }],
  ['contact in another case', kid, { Contact: ['mailto:a@example.org'] }],
  ['contact beside an order', kid, { ...order, contact: [] }],
  ['contact twice', kid, '{"identifiers":[],"contact":[],"identifiers":[]}'],
  ['terms', kid, { termsOfServiceAgreed: true }],
  ['a new account', at('new-acct'), { termsOfServiceAgreed: true }],
]
const ending: readonly [string, string, unknown][] = [
  ['deactivation', kid, { status: 'deactivated' }],
  ['in another case', kid, { Status: 'deactivated' }],
  ['with the long s', kid, { '\u017ftatus': 'deactivated' }],
  ['escaped', kid, '{"\\u0073tatus":"deactivated"}'],
  ['twice', at('authz/1/2'), '{"status":"valid","status":"deactivated"}'],
  ['twice in two cases', at('authz/1/2'), '{"status":"deactivated","STATUS":"x"}'],
  ['with more', kid, { status: 'deactivated', contact: [] }],
  ['by another word', kid, { status: 'revoked' }],
  ['no JSON to us', kid, '\ufeff{"status":"deactivated"}'],
  ['no JSON to us, either', kid, "{'status':'deactivated'}"],
  ['JSON to Python only, escaped', kid, '{"st\\u0061tus":"de\\u0061ctivated","x":NaN}'],
  ['JSON in UTF-16', kid, Buffer.from('{"status":"deactivated"}', 'utf16le').toString()],
  ['account with a query', `${kid}?authz/1`, { status: 'deactivated' }],
  ['account by a detour', at('authz/../acct/1'), { status: 'deactivated' }],
  ['account with an encoded letter', at('authz/%2e%2e/acct/1'), { status: 'deactivated' }],
  ['account with a port', 'https://ca.example:443/acme/acct/1', { status: 'deactivated' }],
  ['fragment', `${kid}#/authz/1`, { status: 'deactivated' }],
  ['key change', at('key-change'), { protected: 'x', payload: 'y', signature: 'z' }],
  ['key change at an order', at('new-order'), { Protected: 'x', payload: 'y', Signature: 'z' }],
  ['key change with the Kelvin sign', at('x'), { 'old\u212aey': {} }],
  ['something for Pebble’s key change', 'https://ca.example/rollover-account-key', 'abc'],
]

test('without a policy: all that lacme-accountd signs, but what ends the account or gives it away', () => {
  for (const [what, url, payload] of [...wanted, ...managing])
    assert.ok(signs(ask(headerFor(url), payload), account), what)
  for (const [what, url, payload] of ending) {
    assert.ok(!signs(ask(headerFor(url), payload), account), what)
    assert.ok(signs(ask(headerFor(url), payload), everything), `${what}, at the admin socket`)
  }
  const twoAddresses = `{"alg":"ES256","kid":"${kid}","nonce":"n","url":"${kid}","url":"${at('authz/1/2')}"}`
  assert.ok(!signs(ask(twoAddresses, { status: 'deactivated' }), account), 'two addresses, one of them the account')
  assert.ok(signs(ask({ alg: '', nonce: 1, url: 'x', jwk: 'y' }, 'hello'), account), 'values are not looked at')
})

test('issuing: what gets certificates, of this account, at this CA', () => {
  for (const [what, url, payload] of wanted) assert.ok(signs(ask(headerFor(url), payload), issuing), what)
  for (const [what, url, payload] of [...managing, ...ending])
    assert.ok(!signs(ask(headerFor(url), payload), issuing), what)
  const jwk = { kty: 'EC' }
  for (const [what, header] of [
    ['another CA', headerFor('https://evil.example/acme/new-order')],
    ['another CA behind a name', headerFor('https://ca.example@evil.example/acme/new-order')],
    ['plain HTTP', headerFor('http://ca.example/acme/new-order')],
    ['no address', headerFor('new-order')],
    ['another account', headerFor(at('new-order'), { kid: at('acct/2') })],
    ['the key', headerFor(at('new-order'), { kid: undefined, jwk })],
    ['key and account', headerFor(at('new-order'), { jwk })],
    ['another algorithm', headerFor(at('new-order'), { alg: 'none' })],
    ['more in the header', headerFor(at('new-order'), { crit: ['x'] })],
  ] as const)
    assert.ok(!signs(ask(header, order), issuing), what)
  const twice = `{"alg":"ES256","kid":"${kid}","nonce":"n","url":"https://evil.example/x","url":"${at('new-order')}"}`
  assert.ok(!signs(ask(twice, order), issuing), 'an address twice')
  const inCases = `{"alg":"ES256","kid":"${kid}","nonce":"n","URL":"https://evil.example/x","url":"${at('new-order')}"}`
  assert.ok(!signs(ask(inCases, order), issuing), 'an address in two cases')
  const lookup = ask(headerFor(at('new-acct'), { kid: undefined, jwk }), { onlyReturnExisting: true })
  assert.ok(signs(lookup, open), 'without keyid the account is looked up by the key')
  assert.ok(!signs(lookup, issuing), 'with keyid it is known')
})

test('names: each of an order must be among them', () => {
  const allowed = (...identifiers: unknown[]) => signs(ask(headerFor(at('new-order')), { identifiers }), named)
  const dns = (value: unknown, more: object = {}) => ({ type: 'dns', value, ...more })
  assert.ok(allowed(dns('www.example.org'), dns('A.example.com'), { type: 'ip', value: '2001:DB8:0::1' }))
  for (const bad of [
    dns('www.example.net'),
    dns('*.example.org'),
    dns('a.b.example.org'),
    dns('example.org'),
    dns('www.example.org.'),
    dns('www.example.org\u0000.evil.example'),
    dns(['www.example.org']),
    dns('www.example.org', { Value: 'evil.example' }),
    { type: 'ip', value: '192.0.2.1' },
    { type: 'ip', value: '2001:db8::1%eth0' },
    { type: 'email', value: 'www.example.org' },
    'www.example.org',
    null,
  ])
    assert.ok(!allowed(dns('www.example.org'), bad), JSON.stringify(bad))
  assert.ok(!signs(ask(headerFor(at('new-order')), { identifiers: 'www.example.org' }), named))
  assert.ok(!signs(ask(headerFor(at('new-authz')), { identifier: dns('evil.example') }), named))
  assert.ok(signs(ask(headerFor(at('new-authz')), { identifier: dns('www.example.org') }), named))
  const twins = '{"identifiers":[{"type":"dns","value":"evil.example","value":"www.example.org"}]}'
  assert.ok(!signs(ask(headerFor(at('new-order')), twins), named))
})

test('a rate is kept over any span, and comes back evenly', () => {
  let nowMs = 0
  const gauge = createRateGauge({ count: 3, periodMs: 3000 }, () => nowMs)
  const taken = () => [1, 2, 3, 4].map(() => gauge.take())
  assert.deepEqual(taken(), [true, true, true, false])
  nowMs = 1000
  assert.deepEqual(taken(), [true, false, false, false])
  nowMs = 1_000_000
  assert.deepEqual(taken(), [true, true, true, false])
})
