import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hostKey } from '../../test/issuance-world.ts'
import { makeTempFolder } from '../../test/peers/child.ts'
import { parseDnsName } from '../acme/identifier.ts'
import { buildCsrDer } from '../x509/csr-builder.ts'
import { formatPem } from '../x509/pem.ts'
import { type CertificateMemory, DamagedMemoryError, readMemory, setAsideDamaged, writeMemory } from './memory.ts'

const csrDer = buildCsrDer({ key: hostKey, identifiers: [parseDnsName('www.example.org')], keyUsage: [] })
const made = { csrPem: formatPem('CERTIFICATE REQUEST', csrDer), wish: { names: 'dns www.example.org' } }
const full: CertificateMemory = {
  next: made,
  current: { ...made, serial: '0A', notBeforeMs: 7, files: [{ path: '/a', sha256: '00', holdsKey: true }] },
  placing: true,
  hookDue: { failures: 1, retryAtMs: 2, sinceMs: 3 },
  trouble: { failures: 4, retryAtMs: 5, reason: 'why', at: 'installing' },
}

test('what was written is read again; nothing is nothing', async () => {
  using temp = makeTempFolder('memory')
  const folder = join(temp.path, 'new')
  assert.deepEqual(await readMemory(folder), {})
  assert.equal(await setAsideDamaged(folder), undefined)
  for (const memory of [full, {}]) {
    await writeMemory(folder, memory)
    assert.deepEqual(await readMemory(folder), memory)
    assert.equal(await setAsideDamaged(folder), undefined)
  }
})

test('D7: empty, cut off or nonsense: said so, put aside, and begun anew', async () => {
  using temp = makeTempFolder('memory')
  const file = join(temp.path, 'certificate.json')
  await writeMemory(temp.path, full)
  const good = readFileSync(file, 'utf8')
  const damaged = [
    ...['', '\0\0\0\0', 'null', '[]', '{"current":{}}', '{"hookDue":{"failures":"1"}}'],
    ...[good.slice(0, good.length / 2), good.replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE')],
  ]
  for (const text of damaged) {
    writeFileSync(file, text)
    await assert.rejects(readMemory(temp.path), DamagedMemoryError, text)
    const aside = await setAsideDamaged(temp.path)
    assert.equal(readFileSync(aside ?? '', 'utf8'), text)
    assert.ok(!existsSync(file))
    assert.deepEqual(await readMemory(temp.path), {})
  }
})
