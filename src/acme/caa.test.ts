import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CaaRecord, caaIssueValue, judgeCaa } from './caa.ts'

const accountUrl = 'https://ca.example/acct/1'
const question = { identities: ['ca.example', 'old-ca.example'], wildcard: false, accountUrl, method: 'http-01' }
const issue = (value: string, tag = 'issue', critical = false): CaaRecord => ({ tag, value, critical })

function reasonFor(records: readonly CaaRecord[], wildcard = false): string {
  const verdict = judgeCaa(records, { ...question, wildcard })
  return verdict.allowed ? 'allowed' : verdict.reason
}

test('what allows us', () => {
  const own = caaIssueValue('ca.example', accountUrl, 'http-01')
  assert.equal(own, 'ca.example; accounturi=https://ca.example/acct/1; validationmethods=http-01')
  for (const records of [
    [],
    [issue(own)],
    [issue('CA.example')],
    [issue('other.example'), issue('old-ca.example')],
    [issue('ca.example; validationmethods=dns-01,http-01')],
    [issue('ca.example; something=else')],
    [issue('mailto:a@example.org', 'iodef')],
    [issue(';', 'issuewild')],
    [issue('x', 'unknown')],
  ])
    assert.equal(reasonFor(records), 'allowed', JSON.stringify(records))
})

test('what forbids us', () => {
  assert.match(reasonFor([issue(';')]), /nobody may issue/)
  assert.match(reasonFor([issue('other.example')]), /other\.example may issue/)
  assert.match(reasonFor([issue('ca.example; accounturi=https://ca.example/acct/2')]), /only the account .*acct\/2/)
  assert.match(reasonFor([issue('ca.example; validationmethods=dns-01')]), /only dns-01/)
  assert.match(reasonFor([issue('ca.example; accounturi=a; accounturi=a')]), /twice/)
  assert.match(reasonFor([issue('x', 'unknown', true)]), /critical property unknown/)
})

test('wildcards have a property of their own, where it is there', () => {
  assert.equal(reasonFor([issue('ca.example')], true), 'allowed')
  assert.match(reasonFor([issue('ca.example'), issue(';', 'issuewild')], true), /nobody/)
  assert.equal(reasonFor([issue(';'), issue('ca.example', 'issuewild')], true), 'allowed')
})
