// Whatever a CA, or whoever stands in for it, sends: what is installed is for this key, these names and this purpose.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { dayMs, hostKey, hourMs, makeKey, otherKey } from '../../test/issuance-world.ts'
import { makeTempFolder } from '../../test/peers/child.ts'
import { type Identifier, parseDnsName, parseIpAddress } from '../acme/identifier.ts'
import { buildCertificate } from '../x509/certificate-builder.ts'
import { parseChain } from '../x509/chain.ts'
import { parseCsr } from '../x509/csr.ts'
import { buildCsrDer } from '../x509/csr-builder.ts'
import { formatPem } from '../x509/pem.ts'
import { type Proof, proveChain } from './chain-proof.ts'

const nowMs = Date.now()
const name = parseDnsName('www.example.org')
const span = { notBeforeMs: nowMs - dayMs, notAfterMs: nowMs + 90 * dayMs }
type Authority = { readonly key: KeyObject; readonly certificate: X509Certificate; readonly pem: string }

function makeAuthority(commonName: string, issuer?: Authority, during = span): Authority {
  const key = makeKey()
  const der = buildCertificate({
    ...{ kind: 'authority', commonName, publicKey: createPublicKey(key), issuer: issuer ?? { key }, ...during },
    serial: randomBytes(16),
  })
  return { key, certificate: new X509Certificate(der), pem: formatPem('CERTIFICATE', der) }
}

const root = makeAuthority('root')
const intermediate = makeAuthority('intermediate', root)
const stranger = makeAuthority('stranger')

type Leaf = { names?: readonly Identifier[]; key?: KeyObject; issuer?: Authority; during?: typeof span }

function makeLeaf({ names = [name], key = hostKey, issuer = intermediate, during = span }: Leaf = {}): string {
  const der = buildCertificate({
    ...{ kind: 'leaf', identifiers: names, publicKey: createPublicKey(key), issuer, ...during },
    serial: randomBytes(16),
  })
  return formatPem('CERTIFICATE', der)
}

const needOf = (...identifiers: Identifier[]) => parseCsr(buildCsrDer({ key: hostKey, identifiers, keyUsage: [] }))

function prove(leafPem: string, above: readonly Authority[] = [intermediate], proof: Partial<Proof> = {}): void {
  const chain = parseChain(leafPem + above.map(({ pem }) => pem).join(''))
  proveChain(chain, { need: needOf(name), nowMs, ...proof })
}

/** What buildCertificate never makes: by openssl, for the same key. */
function opensslLeaf(extensions: string, issuer: Pick<Authority, 'key' | 'pem'> = intermediate): string {
  using folder = makeTempFolder('leaf')
  const at = (file: string) => join(folder.path, file)
  writeFileSync(at('host.key'), hostKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(at('ca.key'), issuer.key.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(at('ca.pem'), issuer.pem)
  writeFileSync(at('ext'), `subjectAltName=DNS:www.example.org\n${extensions}\n`)
  const run = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
  run('req', '-new', '-key', at('host.key'), '-subj', '/', '-out', at('csr'))
  const ca = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-set_serial', '77', '-days', '9']
  run('x509', '-req', '-in', at('csr'), ...ca, '-extfile', at('ext'), '-out', at('pem'))
  return readFileSync(at('pem'), 'utf8')
}

test('good: with its intermediate, with the root, alone, to a pinned root', () => {
  prove(makeLeaf())
  prove(makeLeaf(), [intermediate, root])
  prove(makeLeaf(), [])
  prove(makeLeaf(), [intermediate], { rootsPem: stranger.pem + root.pem })
  prove(makeLeaf(), [intermediate, root], { rootsPem: root.pem })
  prove(makeLeaf(), [], { rootsPem: intermediate.pem })
  prove(opensslLeaf('extendedKeyUsage=serverAuth,clientAuth'))
  // Without the extension it is good for everything (RFC 5280 §4.2.1.12).
  prove(opensslLeaf('basicConstraints=CA:FALSE'))
})

test('D3: another key, other names, one name too many or too few', () => {
  assert.throws(() => prove(makeLeaf({ key: otherKey })), /for another key/)
  const also = parseDnsName('bank.example.org')
  for (const names of [[also], [name, also], [parseIpAddress('192.0.2.1')]])
    assert.throws(() => prove(makeLeaf({ names })), /other names/)
  assert.throws(() => prove(makeLeaf(), [intermediate], { need: needOf(name, also) }), /other names/)
  const both = { need: needOf(also, name) }
  prove(makeLeaf({ names: [name, also] }), [intermediate], both)
})

test('D3: older than what is there; an hour or two of dating back are forgiven', () => {
  prove(makeLeaf(), [intermediate], { formerNotBeforeMs: span.notBeforeMs + hourMs })
  assert.throws(
    () => prove(makeLeaf(), [intermediate], { formerNotBeforeMs: span.notBeforeMs + 3 * hourMs }),
    /older than the one that is installed/,
  )
})

test('time: over, not yet, and above it, too', () => {
  const past = { notBeforeMs: nowMs - 9 * dayMs, notAfterMs: nowMs - 1000 }
  assert.throws(() => prove(makeLeaf({ during: past })), /has expired/)
  const future = { notBeforeMs: nowMs + 3 * hourMs, notAfterMs: nowMs + 9 * dayMs }
  assert.throws(() => prove(makeLeaf({ during: future })), /not valid yet/)
  const old = makeAuthority('old', root, past)
  assert.throws(() => prove(makeLeaf({ issuer: old }), [old]), /"CN=old" in the chain has expired/)
  const oldRoot = makeAuthority('old root', undefined, past)
  const issuer = makeAuthority('intermediate', oldRoot)
  assert.throws(
    () => prove(makeLeaf({ issuer }), [issuer], { rootsPem: oldRoot.pem }),
    /only certificates that have expired/,
  )
  const rootsPem = oldRoot.pem + root.pem
  assert.throws(
    () => prove(makeLeaf({ issuer }), [issuer], { rootsPem }),
    /"CN=old root", whose certificate .* expired/,
  )
})

test('purpose: a client, a CA, a link that is no CA, a link that is missing', () => {
  assert.throws(() => prove(opensslLeaf('extendedKeyUsage=clientAuth')), /not for servers/)
  assert.throws(() => prove(opensslLeaf('basicConstraints=CA:TRUE')), /one of a CA/)
  const noCa = { ...intermediate, key: otherKey }
  const leafPem = makeLeaf({ key: otherKey })
  const middle = { key: otherKey, certificate: new X509Certificate(leafPem), pem: leafPem }
  assert.throws(() => prove(makeLeaf({ issuer: middle }), [middle, intermediate]), /is no CA|not issued by/)
  assert.throws(() => prove(makeLeaf({ issuer: noCa })), /not issued by the one after it/)
  assert.throws(() => prove(makeLeaf(), [root]), /not issued by the one after it/)
})

test('roots: another one, one of the same name, none, a file without any', () => {
  assert.throws(() => prove(makeLeaf(), [intermediate], { rootsPem: stranger.pem }), /not one of the roots/)
  const sameName = makeAuthority('root')
  assert.throws(() => prove(makeLeaf(), [intermediate], { rootsPem: sameName.pem }), /"CN=root", which is not one/)
  for (const rootsPem of ['', 'nothing', intermediate.key.export({ type: 'pkcs8', format: 'pem' }).toString()])
    assert.throws(() => prove(makeLeaf(), [intermediate], { rootsPem }), /ca-file holds no certificate/)
  for (const rootsPem of [root.pem.slice(0, 300), formatPem('CERTIFICATE', Buffer.from('no'))])
    assert.throws(() => prove(makeLeaf(), [intermediate], { rootsPem }), /ca-file (is damaged|holds no certificate)/)
})

test('names of a stranger: whatever they are, what is said of them is short', () => {
  // Longer than RFC 5280 allows; OpenSSL prints no such name.
  const long = makeAuthority('A'.repeat(3000))
  assert.throws(
    () => prove(makeLeaf({ issuer: long }), [long], { rootsPem: root.pem }),
    (error: Error) => error.name === 'ChainError' && /not one of the roots/.test(error.message),
  )
  using folder = makeTempFolder('dn')
  const pem = join(folder.path, 'pem')
  const subject = Array.from({ length: 200 }, (_, n) => `/OU=${n}${'x'.repeat(60)}`).join('')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(folder.path, 'key')]
  execFileSync('openssl', ['req', '-x509', ...key, '-subj', subject, '-days', '9', '-out', pem], { stdio: 'pipe' })
  const many = readFileSync(pem, 'utf8')
  const certificate = new X509Certificate(many)
  const authority = { key: createPrivateKey(readFileSync(join(folder.path, 'key'))), certificate, pem: many }
  assert.throws(
    () => prove(opensslLeaf('extendedKeyUsage=serverAuth', authority), [authority], { rootsPem: root.pem }),
    (error: Error) => /"OU=0x+, .*…", which is not one of the roots/.test(error.message) && error.message.length < 400,
  )
})
