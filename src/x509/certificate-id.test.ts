import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import fc from 'fast-check'
import { makeTempFolder } from '../../test/peers/child.ts'
import { certificateId } from './certificate-id.ts'
import { DerError } from './der.ts'

/** RFC 9773, appendix A. */
const exampleDer = Buffer.from(
  `MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
   cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
   BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
   7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
   qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
   yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
   +FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK`,
  'base64',
)

test('the certificate of RFC 9773, appendix A', () => {
  assert.equal(certificateId(exampleDer), 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE')
})

let hasOpenssl = true
before(() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'pipe' })
  } catch {
    hasOpenssl = false
  }
})

function issue(folder: string, serial: string, extensions: string): { der: Buffer; text: string } {
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' })
  const leaf = 'leaf.pem'
  writeFileSync(join(folder, 'ext.cnf'), `${extensions}\n`)
  openssl(
    ...['x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-set_serial', serial],
    ...['-days', '1', '-extfile', 'ext.cnf', '-out', leaf],
  )
  const text = openssl('x509', '-in', leaf, '-noout', '-serial', '-ext', 'authorityKeyIdentifier').toString()
  openssl('x509', '-in', leaf, '-outform', 'DER', '-out', 'leaf.der')
  return { der: readFileSync(join(folder, 'leaf.der')), text }
}

test('certificates of openssl: its key identifier and its serial, with the zero octet that makes it positive', (t) => {
  if (!hasOpenssl) return t.skip('there is no openssl')
  using folder = makeTempFolder('certificate-id')
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: folder.path, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test CA', '-days', '2')
  openssl('req', '-new', ...key, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=leaf.example')

  for (const serial of ['0x01', '0x7f', '0x80', '0x00ff', '0x8765432100ff', `0x${'f'.repeat(40)}`, '0x0100']) {
    const { der, text } = issue(folder.path, serial, 'authorityKeyIdentifier=keyid:always')
    const hex = /serial=([0-9A-F]+)/.exec(text)?.[1] ?? ''
    const octets = Buffer.from(Number.parseInt(hex.slice(0, 2), 16) >= 0x80 ? `00${hex}` : hex, 'hex')
    const keyId = Buffer.from((/(?:[0-9A-F]{2}:){19}[0-9A-F]{2}/.exec(text)?.[0] ?? '').replaceAll(':', ''), 'hex')
    assert.equal(keyId.length, 20)
    assert.equal(certificateId(der), `${keyId.toString('base64url')}.${octets.toString('base64url')}`, serial)
  }
  const both = issue(folder.path, '0x05', 'authorityKeyIdentifier=keyid:always,issuer:always')
  assert.match(certificateId(both.der) ?? '', /^[\w-]{27}\.BQ$/)
  // Only the issuer's name and serial: that is no name for renewal information.
  assert.equal(certificateId(issue(folder.path, '0x05', 'authorityKeyIdentifier=issuer:always').der), undefined)
  assert.equal(certificateId(issue(folder.path, '0x05', 'authorityKeyIdentifier=none').der), undefined)
})

test('what is no certificate is refused, at every octet', () => {
  for (let length = 0; length < exampleDer.length; length++)
    assert.throws(() => certificateId(exampleDer.subarray(0, length)), DerError)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
      try {
        certificateId(octets)
      } catch (error) {
        assert.ok(error instanceof DerError, String(error))
      }
    }),
  )
})

test('a flipped bit gives another name, none, or an error that is known', () => {
  fc.assert(
    fc.property(fc.nat(exampleDer.length * 8 - 1), (bit) => {
      const broken = Buffer.from(exampleDer)
      broken[bit >> 3] = (broken[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      try {
        const id = certificateId(broken)
        assert.ok(id === undefined || /^[\w-]*\.[\w-]*$/.test(id), id)
      } catch (error) {
        assert.ok(error instanceof DerError, String(error))
      }
    }),
    { numRuns: 2000 },
  )
})
