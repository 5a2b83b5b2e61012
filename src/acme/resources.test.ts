// What a CA sends is read once, here: what it can be is a closed set, and everything else is a TypeError.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseAccount } from './account.ts'
import { parseAuthorization } from './authorization.ts'
import { parseChallenge } from './challenge.ts'
import { parseDirectory } from './directory.ts'
import { parseOrder } from './order.ts'

const url = 'https://ca.example/it/1'

const order = {
  status: 'pending',
  expires: '2030-01-01T00:00:00Z',
  identifiers: [{ type: 'dns', value: 'WWW.example.org' }],
  authorizations: ['https://ca.example/authz/1'],
  finalize: 'https://ca.example/finalize/1',
}
const challenge = { type: 'http-01', url: 'https://ca.example/chal/1', status: 'pending', token: 'abc_-9' }
const authorization = {
  status: 'pending',
  identifier: { type: 'dns', value: 'example.org' },
  challenges: [challenge],
  wildcard: true,
}
const directory = {
  newNonce: 'https://ca.example/nonce',
  newAccount: 'https://ca.example/account',
  newOrder: 'https://ca.example/order',
}

test('an order has a certificate exactly when it is valid, and a problem only when it is invalid', () => {
  for (const status of ['pending', 'ready', 'processing']) {
    const parsed = parseOrder(url, { ...order, status, certificate: 'https://ca.example/cert/1' })
    assert.deepEqual([parsed.status, 'certificateUrl' in parsed, 'problem' in parsed], [status, false, false])
  }
  const valid = parseOrder(url, { ...order, status: 'valid', certificate: 'https://ca.example/cert/1' })
  assert.equal(valid.status === 'valid' && valid.certificateUrl, 'https://ca.example/cert/1')
  assert.throws(() => parseOrder(url, { ...order, status: 'valid' }), TypeError)
  const invalid = parseOrder(url, { ...order, status: 'invalid', error: { detail: 'no', status: 403 } })
  assert.equal(invalid.status === 'invalid' && invalid.problem?.detail, 'no')
  assert.ok(!('problem' in parseOrder(url, { ...order, status: 'invalid' })))
  assert.deepEqual(valid.identifiers, [{ type: 'dns', value: 'www.example.org' }])
  assert.equal(valid.expiresAtMs, Date.UTC(2030, 0, 1))
  assert.equal(valid.url, url)
})

test('an order that lacks what it must have is none', () => {
  for (const wrong of [
    { status: 'expired' },
    { status: 1 },
    { expires: 'tomorrow' },
    { identifiers: [{ type: 'dns' }] },
    { authorizations: undefined },
    { authorizations: [1] },
    { finalize: undefined },
  ]) {
    assert.throws(() => parseOrder(url, { ...order, ...wrong }), TypeError, JSON.stringify(wrong))
  }
})

test('challenges of unknown types are kept, tokens that are no tokens are not', () => {
  const other = parseChallenge({ type: 'dns-persist-01', url, extra: 1 })
  assert.deepEqual(other, { type: 'dns-persist-01', url, token: '', status: 'pending' })
  for (const token of ['../etc', 'a/b', 'a b', 'a\n', 'x'.repeat(129), 'ü', 7])
    assert.throws(() => parseChallenge({ ...challenge, token }), TypeError, String(token))
  assert.throws(() => parseChallenge({ ...challenge, status: 'odd' }), TypeError)
  const failed = parseChallenge({ ...challenge, status: 'invalid', error: { detail: 'refused', status: 400 } })
  assert.equal(failed.problem?.detail, 'refused')
})

test('an authorization says whether it is for the wildcard', () => {
  assert.equal(parseAuthorization(url, authorization).wildcard, true)
  assert.equal(parseAuthorization(url, { ...authorization, wildcard: 'yes' }).wildcard, false)
  assert.deepEqual(parseAuthorization(url, { ...authorization, challenges: undefined }).challenges, [])
  for (const wrong of [{ status: 'processing' }, { identifier: undefined }, { challenges: [{}] }])
    assert.throws(() => parseAuthorization(url, { ...authorization, ...wrong }), TypeError)
})

test('a directory needs three addresses; what it offers more is optional', () => {
  const plain = parseDirectory(directory)
  assert.deepEqual(plain.profiles, new Map())
  assert.equal(plain.externalAccountRequired, false)
  assert.ok(!('renewalInfoUrl' in plain))
  const rich = parseDirectory({
    ...directory,
    renewalInfo: 'https://ca.example/ari',
    random: 'https://ca.example/ignored',
    meta: { termsOfService: 'https://ca.example/tos', externalAccountRequired: true, profiles: { short: '6 days' } },
  })
  assert.equal(rich.renewalInfoUrl, 'https://ca.example/ari')
  assert.equal(rich.termsOfServiceUrl, 'https://ca.example/tos')
  assert.equal(rich.externalAccountRequired, true)
  assert.equal(rich.profiles.get('short'), '6 days')
  for (const key of Object.keys(directory))
    assert.throws(() => parseDirectory({ ...directory, [key]: undefined }), TypeError)
})

test('an account is valid, deactivated or revoked', () => {
  assert.deepEqual(parseAccount(url, { status: 'valid' }), { url, status: 'valid', contact: [] })
  assert.deepEqual(parseAccount(url, { status: 'revoked', contact: ['mailto:a@b'] }).contact, ['mailto:a@b'])
  for (const wrong of [{}, { status: 'odd' }, { status: 'valid', contact: 'mailto:a@b' }, null])
    assert.throws(() => parseAccount(url, wrong), TypeError)
})

test('whatever JSON comes, it is read or it is a TypeError', () => {
  const near = (good: Record<string, unknown>): fc.Arbitrary<unknown> =>
    fc
      .tuple(fc.constantFrom(...Object.keys(good)), fc.oneof(fc.jsonValue(), fc.constant({ toString: 1, valueOf: 1 })))
      .map(([key, value]) => ({ ...good, [key]: value }))
  const meta = near({ profiles: { classic: 'usual' }, termsOfService: 'https://ca.example/tos' })
  const cases: readonly (readonly [read: (body: unknown) => unknown, good: fc.Arbitrary<unknown>])[] = [
    [(body) => parseOrder(url, body), near({ ...order, error: {} })],
    [(body) => parseAuthorization(url, body), near(authorization)],
    [parseChallenge, near({ ...challenge, error: {} })],
    [
      parseDirectory,
      fc.oneof(
        near(directory),
        meta.map((value) => ({ ...directory, meta: value })),
      ),
    ],
    [(body) => parseAccount(url, body), near({ status: 'valid', contact: [] })],
  ]
  for (const [read, body] of cases) {
    fc.assert(
      fc.property(fc.oneof(body, fc.jsonValue()), (value) => {
        try {
          read(value)
        } catch (error) {
          assert.ok(error instanceof TypeError, String(error))
        }
      }),
      { numRuns: 200 },
    )
  }
})
