import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dnsAccountName } from './dns-account.ts'

test("the draft's example", () => {
  const name = dnsAccountName('https://example.com/acme/acct/ExampleAccount', 'www.example.org')
  assert.equal(name, '_ujmmovf2vn55tgye._acme-challenge.www.example.org')
})

test('another account has another label', () => {
  assert.notEqual(
    dnsAccountName('https://ca.example/acct/1', 'a.example'),
    dnsAccountName('https://ca.example/acct/2', 'a.example'),
  )
  assert.match(dnsAccountName('https://ca.example/acct/1', 'a.example'), /^_[a-z2-7]{16}\._acme-challenge\.a\.example$/)
})
