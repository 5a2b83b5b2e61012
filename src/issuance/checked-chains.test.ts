import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { thumbprintOf } from '../signature/signing-key.ts'
import { buildCertificate } from '../x509/certificate-builder.ts'
import { ChainError, type ChainNeed, parseChain } from '../x509/chain.ts'
import { formatPem } from '../x509/pem.ts'
import { createCheckedChains } from './checked-chains.ts'

const times = { notBeforeMs: Date.UTC(2027, 0, 1), notAfterMs: Date.UTC(2027, 3, 1) }
const root = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rootDer = buildCertificate({
  kind: 'authority',
  commonName: 'a root',
  publicKey: root.publicKey,
  issuer: { key: root.privateKey },
  serial: randomBytes(16),
  ...times,
})
const issuer = { key: root.privateKey, certificate: new X509Certificate(rootDer) }
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const hashOf = (key: KeyObject) => Buffer.from(thumbprintOf(key), 'base64url').toString('hex')

function makeChain(name: string): { readonly pem: string; readonly need: ChainNeed } {
  const identifiers = [{ type: 'dns', value: name }] as const
  const der = buildCertificate({ kind: 'leaf', identifiers, publicKey, issuer, serial: randomBytes(16), ...times })
  const pem = `${formatPem('CERTIFICATE', der)}${formatPem('CERTIFICATE', rootDer)}`
  return { pem, need: { identifiers, publicKeyHash: hashOf(publicKey) } }
}

test('a checked chain says what the chain says, its certificates, too', () => {
  const { pem, need } = makeChain('a.example.test')
  const [chain, parsed] = [createCheckedChains().check(pem, need), parseChain(pem)]
  assert.equal(chain.pem, parsed.pem)
  assert.deepEqual(chain.pemBytes, parsed.pemBytes)
  const factsOf = ({ x509, ...facts }: typeof chain.leaf) => ({ ...facts, der: x509.raw.toString('hex') })
  assert.deepEqual([chain.leaf, ...chain.issuers].map(factsOf), [parsed.leaf, ...parsed.issuers].map(factsOf))
})

test('a chain is remembered for its need alone, while there is room', () => {
  const chains = createCheckedChains(2)
  const [first, second, third] = [makeChain('a.example.test'), makeChain('b.example.test'), makeChain('c.example.test')]
  const known = chains.check(first.pem, first.need)
  assert.equal(chains.check(first.pem, first.need), known)
  assert.throws(() => chains.check(first.pem, second.need), ChainError)
  assert.throws(() => chains.check(first.pem, { ...first.need, publicKeyHash: hashOf(root.publicKey) }), ChainError)
  chains.check(second.pem, second.need)
  assert.equal(chains.check(first.pem, first.need), known)
  chains.check(third.pem, third.need)
  assert.notEqual(chains.check(first.pem, first.need), known, 'the one that came first gave way')
})
