import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadSection } from '../../test/certificate-section.ts'
import { changesBetween, wishOf } from './wish.ts'

const wish = async (text: string, issuer = 'ca') =>
  wishOf(await loadSection(`key = /k\ncertificate = /c\n${text}`), issuer)

test('D8: what makes another certificate needed, and what does not', async () => {
  const former = await wish('domain = a.example.org\ndomain = b.example.org\nip-address = 192.0.2.1')
  const same = await wish(
    'ip-address = 192.0.2.1\ndomain = B.example.org\ndomain = a.example.org\nhook = x\nmode = 0600',
  )
  assert.deepEqual(changesBetween(former, same), [])
  const cases: [string, string[]][] = [
    ['domain = a.example.org', ['names']],
    ['domain = a.example.org\ndomain = b.example.org\nip-address = 192.0.2.2', ['names']],
    ['domain = a.example.org\ndomain = b.example.org\nip-address = 192.0.2.1\nkey-type = rsa-2048', ['key type']],
  ]
  for (const [text, changes] of cases) assert.deepEqual(changesBetween(former, await wish(text)), changes)
  const one = await wish('domain = a.example.org')
  assert.deepEqual(changesBetween(one, await wish('domain = a.example.org\nsubject = /CN=a.example.org')), ['subject'])
  assert.deepEqual(changesBetween(one, await wish('domain = a.example.org\nmust-staple = yes')), ['must-staple'])
  assert.deepEqual(changesBetween(one, await wish('domain = a.example.org\nkey-usage = digitalSignature')), [
    'key usage',
  ])
  assert.deepEqual(changesBetween(one, await wish('domain = a.example.org\nprofile = short')), ['profile'])
  assert.deepEqual(changesBetween(one, await wish('domain = a.example.org', 'other')), ['issuer'])
})

test('a memory of another version has other words for it: what is new counts as changed', async () => {
  const now = await wish('domain = a.example.org')
  assert.deepEqual(changesBetween({}, now).sort(), Object.keys(now).sort())
})
