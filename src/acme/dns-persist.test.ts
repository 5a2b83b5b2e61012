import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePersistOffer, persistAccountHash, persistName, persistValue } from './dns-persist.ts'

const account = {
  accountUrl: 'https://ca.example/acct/123',
  thumbprint: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
}
const wish = {
  domain: 'example.com',
  issuerDomainName: 'authority.example',
  accountHashPrefix: 'https://ca.example/account-hash/',
}

test("the draft's examples (§10.2)", () => {
  assert.equal(persistAccountHash('example.com', account), '5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw')
  assert.equal(persistAccountHash('*', account), 'NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug')
  assert.equal(persistName('example.com'), '_validation-persist.example.com')
  assert.equal(
    persistValue(account, wish),
    'authority.example; accounturi=https://ca.example/account-hash/sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw',
  )
})

test('wildcards and an end', () => {
  const value = persistValue(account, { ...wish, domain: '*', wildcard: true, persistUntil: 1_800_000_000 })
  assert.match(
    value,
    /\/sha-256\/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug; policy=wildcard; persistUntil=1800000000$/,
  )
})

test('what a directory offers, in both spellings, or does not', () => {
  const offer = { issuerDomainNames: ['a.example', 'b.example'], accountHashPrefix: 'https://a/' }
  assert.deepEqual(parsePersistOffer(offer), offer)
  const hyphens = { 'issuer-domain-names': ['a.example', 'b.example'], 'account-hash-prefix': 'https://a/' }
  assert.deepEqual(parsePersistOffer(hyphens), offer)
  for (const none of [
    {},
    { issuerDomainNames: ['a.example'] },
    { issuerDomainNames: 'a', accountHashPrefix: 'b' },
    { issuerDomainNames: [1], accountHashPrefix: 'b' },
  ])
    assert.equal(parsePersistOffer(none), undefined)
})
