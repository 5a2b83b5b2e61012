import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { test } from 'node:test'
import { generatePrivateKey, keyTypeOf, keyTypes, parsePrivateKey, privateKeyPem } from './private-key.ts'

test('every type of key is made, says its type, and is written as Node writes it', async () => {
  for (const keyType of keyTypes) {
    const key = await generatePrivateKey(keyType)
    assert.equal(keyTypeOf(key), keyType)
    const pem = privateKeyPem(key)
    assert.equal(pem.toString('latin1'), key.export({ type: 'pkcs8', format: 'pem' }))
    assert.ok(createPrivateKey(pem).equals(key))
    assert.ok(parsePrivateKey(pem).equals(key))
    assert.equal(pem.byteLength, pem.buffer.byteLength, 'in no shared pool')
  }
})

test('making an RSA key does not stop everything else', async () => {
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  await Promise.all([generatePrivateKey('rsa-4096'), generatePrivateKey('rsa-3072')])
  clearInterval(timer)
  assert.ok(turns > 5, `${turns} turns`)
})

test('what is no key, or a locked one, is said', async () => {
  const key = await generatePrivateKey('ec-256')
  const locked = key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }).toString()
  assert.throws(() => parsePrivateKey(locked), /locked by a passphrase/)
  assert.throws(() => parsePrivateKey('nothing'), /no private key/)
})
