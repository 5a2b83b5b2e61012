import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadSection } from '../../test/certificate-section.ts'
import { makeChain, startMs } from '../../test/issuance-world.ts'
import { parseChain } from '../x509/chain.ts'
import { hookEnvironment, hookFacts } from './hooks.ts'

const chain = parseChain(makeChain({ name: 'www.example.org', fromMs: startMs }))

test('one certificate: its facts, its paths, and nothing else', async () => {
  const section = await loadSection('domain = www.example.org\nip-address = 192.0.2.1\nkey = /k\nfullchain = /f')
  const facts = hookFacts(section, chain)
  const env = hookEnvironment([facts])
  assert.deepEqual(
    { ...env, ACMEMS_FACTS: '', ACMEMS_NOT_AFTER: '' },
    {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LANG: 'C.UTF-8',
      ACMEMS_CERTIFICATES: 'web',
      ACMEMS_NAMES: 'www.example.org 192.0.2.1',
      ACMEMS_FACTS: '',
      ACMEMS_SERIAL: chain.leaf.serial,
      ACMEMS_NOT_BEFORE: new Date(startMs).toISOString(),
      ACMEMS_NOT_AFTER: '',
      ACMEMS_KEY_PATH: '/k',
      ACMEMS_FULLCHAIN_PATH: '/f',
    },
  )
  assert.deepEqual(JSON.parse(env.ACMEMS_FACTS ?? ''), [facts])
})

test('D11: several certificates: what is of one is in the list only; no name twice', async () => {
  const [one, two] = [
    await loadSection('domain = www.example.org\ndirectory = /web'),
    await loadSection('domain = www.example.org\ndomain = m.example.org\npkcs12 = /p\npkcs12-password = x', 'mail'),
  ]
  const env = hookEnvironment([hookFacts(one, chain), hookFacts(two, chain)])
  assert.deepEqual(Object.keys(env).sort(), ['ACMEMS_CERTIFICATES', 'ACMEMS_FACTS', 'ACMEMS_NAMES', 'LANG', 'PATH'])
  assert.equal(env.ACMEMS_CERTIFICATES, 'web mail')
  assert.equal(env.ACMEMS_NAMES, 'www.example.org m.example.org')
  const facts = JSON.parse(env.ACMEMS_FACTS ?? '')
  assert.deepEqual(
    facts.map(({ files }: { files: unknown }) => files),
    [{ directory: '/web' }, { pkcs12: '/p' }],
  )
  // No secret is among what is told.
  assert.ok(!env.ACMEMS_FACTS?.includes('password'))
})
