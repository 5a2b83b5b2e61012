// Kept certificates: found again, taken over, never withheld, never the wrong ones.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { untilLogged } from './until.ts'

const auth = '[auth "lab"]\nip = 127.0.0.1\ndomain = *.lab.test\n'

function folderOf(directory: string, posted: string): string {
  const hash = createHash('sha384').update(posted).digest('hex')
  return join(directory, hash.slice(0, 2), hash.slice(2))
}

function fileConfig(directory: string, more = ''): string {
  return `[account]\ntype = local\n[storage "file"]\ntype = file\ndirectory = ${directory}\n${more}${auth}`
}

test('the same request gets the same bytes, from the state and from files in the layout of acmems', async () => {
  using folder = makeTempFolder('kept')
  const csr = makeCsr({ names: ['a.lab.test'] })
  for (const config of [`[account]\ntype = local\n${auth}`, fileConfig(folder.path)]) {
    await using acmems = await startAcmems(config)
    const first = await postCsr(acmems.signUrl, csr)
    assert.equal(first.status, 200, first.text)
    assert.equal((await postCsr(acmems.signUrl, csr)).text, first.text)
    assert.equal(first.text.split('\n\n').length, 2)
  }
  const place = folderOf(folder.path, csr)
  assert.deepEqual(readdirSync(place).sort(), ['cert.pem', 'csr.pem', 'issued-by.json'])
  assert.equal(readFileSync(join(place, 'csr.pem'), 'utf8'), csr)
  assert.equal(statSync(join(place, 'cert.pem')).mode & 0o077, 0)
})

test('storage none: every request is a new certificate', async () => {
  await using acmems = await startAcmems(`[account]\ntype = local\n[storage "n"]\ntype = none\n${auth}`)
  const csr = makeCsr({ names: ['a.lab.test'] })
  assert.notEqual((await postCsr(acmems.signUrl, csr)).text, (await postCsr(acmems.signUrl, csr)).text)
})

test("acmems' own folder is taken over byte for byte, unless its chain was cut or spoilt", async () => {
  using folder = makeTempFolder('takeover')
  const csr = makeCsr({ names: ['a.lab.test'] })
  await using acmems = await startAcmems(fileConfig(folder.path))
  const issued = await postCsr(acmems.signUrl, csr)
  const place = folderOf(folder.path, csr)
  rmSync(join(place, 'issued-by.json'))
  // acmems wrote no newline at the end.
  const asKept = issued.text.trimEnd()
  writeFileSync(join(place, 'cert.pem'), asKept)
  assert.equal((await postCsr(acmems.signUrl, csr)).text.trimEnd(), asKept)
  for (const damaged of [asKept.split('\n\n')[0] ?? '', asKept.slice(0, 700), '', asKept.replace(/[A-Z]{4}/, 'AAAA')]) {
    rmSync(join(place, 'issued-by.json'), { force: true })
    writeFileSync(join(place, 'cert.pem'), damaged)
    const renewed = await postCsr(acmems.signUrl, csr)
    assert.equal(renewed.status, 200, renewed.text)
    assert.equal(certificatesOf(renewed.text).length, 2)
  }
})

test('a file of ours that lost a byte is ordered anew', async () => {
  using folder = makeTempFolder('bitflip')
  const csr = makeCsr({ names: ['a.lab.test'] })
  await using acmems = await startAcmems(fileConfig(folder.path))
  const first = await postCsr(acmems.signUrl, csr)
  const file = join(folderOf(folder.path, csr), 'cert.pem')
  writeFileSync(file, readFileSync(file, 'utf8').split('\n\n')[0] ?? '')
  const second = await postCsr(acmems.signUrl, csr)
  assert.deepEqual([second.status, certificatesOf(second.text).length], [200, 2])
  assert.notEqual(second.text, first.text)
})

test('a folder that cannot be written to withholds no certificate', async () => {
  using folder = makeTempFolder('readonly')
  const blocked = join(folder.path, 'a-file')
  writeFileSync(blocked, 'in the way')
  await using acmems = await startAcmems(fileConfig(join(blocked, 'certificates')))
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['a.lab.test'] }))
  assert.equal(reply.status, 200, reply.text)
  await untilLogged(acmems, /could not be kept/)
})

test('a certificate of another CA is not answered: staging never serves production', async () => {
  using folder = makeTempFolder('issuer')
  const directory = join(folder.path, 'kept')
  mkdirSync(directory)
  const csr = makeCsr({ names: ['a.lab.test'] })
  const config = (name: string) =>
    `[account]\ntype = local\ndir = ${join(folder.path, name)}\nname = ${name}\n[storage "file"]\ntype = file\ndirectory = ${directory}\n${auth}`
  const issuers: string[] = []
  for (const name of ['staging', 'production']) {
    await using acmems = await startAcmems(config(name))
    issuers.push(certificatesOf((await postCsr(acmems.signUrl, csr)).text)[0]?.issuer ?? '')
  }
  assert.deepEqual(issuers, ['CN=staging', 'CN=production'])
})

test('eight at once with one request make one order; a kept certificate is answered while the CA is gone', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  const pebble = await startPebble({ validityPeriodSeconds: 90 * 24 * 3600 })
  await using _ = pebble
  // Due at once: 89 of 90 days are left.
  await using acmems = await startAcmems(`${accountAndHttp01(pebble)}[storage "state"]
type = state
renew-within = 2159h
${auth}`)
  const csr = makeCsr({ names: ['a.lab.test'] })
  const replies = await Promise.all(Array.from({ length: 8 }, () => postCsr(acmems.signUrl, csr)))
  assert.deepEqual([...new Set(replies.map(({ status }) => status))], [200], replies[0]?.text)
  assert.equal(new Set(replies.map(({ text }) => text)).size, 1)
  assert.equal(pebble.issuedCount(), 1)
  await pebble.stop()
  const kept = await postCsr(acmems.signUrl, csr)
  assert.deepEqual([kept.status, kept.text], [200, replies[0]?.text])
})

test('short-lived certificates are kept too', async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble({ validityPeriodSeconds: 6 * 24 * 3600 })
  using folder = makeTempFolder('short')
  await using acmems = await startAcmems(`${accountAndHttp01(pebble)}[storage "file"]
type = file
directory = ${folder.path}
renew-within = 14
${auth}`)
  const csr = makeCsr({ names: ['a.lab.test'] })
  const first = await postCsr(acmems.signUrl, csr)
  assert.equal(first.status, 200, first.text)
  assert.equal((await postCsr(acmems.signUrl, csr)).text, first.text)
})

test('a full disk: kept certificates are answered, nothing new is begun, and it goes on without a restart', async (t) => {
  using folder = makeTempFolder('full')
  const disk = join(folder.path, 'disk')
  mkdirSync(disk)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', disk])
  if (mounted.status !== 0) return t.skip('a small disk could not be mounted here (needs root)')
  try {
    await using acmems = await startAcmems(
      `[account]\ntype = local\ndir = ${join(folder.path, 'ca')}\n[state]\nurl = sqlite:${disk}/state.db\n${auth}`,
    )
    const [kept, fresh] = [makeCsr({ names: ['a.lab.test'] }), makeCsr({ names: ['b.lab.test'] })]
    const before = await postCsr(acmems.signUrl, kept)
    const filler = join(disk, 'filler')
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1k'])
    assert.equal((await postCsr(acmems.signUrl, kept)).text, before.text)
    const refused = await postCsr(acmems.signUrl, fresh)
    assert.deepEqual([refused.status, refused.headers.get('retry-after') !== null], [503, true], refused.text)
    rmSync(filler)
    assert.equal((await postCsr(acmems.signUrl, fresh)).status, 200)
  } finally {
    spawnSync('umount', [disk])
  }
})
