import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadSection } from '../../test/certificate-section.ts'
import { hostKey, makeChain } from '../../test/issuance-world.ts'
import { parseChain } from '../x509/chain.ts'
import { privateKeyPem } from '../x509/private-key.ts'
import { outputFiles, outputPaths } from './output-files.ts'

const chain = parseChain(makeChain({}))
const keyPem = privateKeyPem(hostKey)
const none = () => Promise.reject(new Error('no PKCS #12 was asked for'))
const blocks = (content: Uint8Array) =>
  Buffer.from(content)
    .toString()
    .match(/-----BEGIN [A-Z ]+-----/g)?.length ?? 0

test('a directory: four files, the key with its mode', async () => {
  const { values } = await loadSection('domain = a.example.org\ndirectory = /etc/tls/web\nmode = 0640\nkey-mode = 0400')
  const files = await outputFiles(values, chain, keyPem, none)
  assert.deepEqual(
    files.map(({ path, mode, holdsKey, content }) => [path, mode, holdsKey, blocks(content)]),
    [
      ['/etc/tls/web/chain.pem', 0o640, false, chain.issuers.length],
      ['/etc/tls/web/cert.pem', 0o640, false, 1],
      ['/etc/tls/web/fullchain.pem', 0o640, false, 1 + chain.issuers.length],
      ['/etc/tls/web/privkey.pem', 0o400, true, 1],
    ],
  )
  assert.deepEqual(outputPaths(values).sort(), files.map(({ path }) => path).sort())
  const withKey = files.filter(({ content }) => Buffer.from(content).includes('PRIVATE KEY'))
  assert.deepEqual(
    withKey.map(({ path }) => path),
    ['/etc/tls/web/privkey.pem'],
  )
})

test('separate paths: only what is named; PKCS #12 is as secret as the key', async () => {
  const { values } = await loadSection(
    'domain = a.example.org\nkey = /k\ncertificate = /c\npkcs12 = /p\npkcs12-password = secret',
  )
  const files = await outputFiles(values, chain, keyPem, async (_, key, password) =>
    Buffer.concat([key, Buffer.from(password)]),
  )
  assert.deepEqual(
    files.map(({ path, mode }) => [path, mode]),
    [
      ['/c', 0o644],
      ['/k', 0o600],
      ['/p', 0o600],
    ],
  )
  assert.deepEqual(outputPaths(values).sort(), ['/c', '/k', '/p'])
})
