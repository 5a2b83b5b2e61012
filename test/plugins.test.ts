// One outside plugin of each kind, loaded by [setup] plugin, doing its work.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { accountAt, jsonLinesOf, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { readSoFar, until } from './until.ts'

const examples = resolve(import.meta.dirname, '../examples')
const plugin = (name: string) => `plugin = ${join(examples, name)}\n`

test('credential, issuer, storage and notifier', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('plugins')
  const [caKey, ca, events] = ['ca.key', 'ca.pem', 'events.jsonl'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      caKey,
      '-subj',
      '/CN=Outside CA',
      '-days',
      '100',
      '-out',
      ca,
    ],
    { stdio: 'pipe' },
  )
  const token = 'a token that only the host knows'
  await using acmems = await startAcmems(`[setup]
${plugin('credential-bearer.js')}${plugin('issuer-openssl.js')}${plugin('storage-memory.js')}${plugin('notifier-file.js')}
[issuer "outside"]
type = openssl
ca-certificate = ${ca}
ca-key = ${caKey}
[storage "short"]
type = memory
[notification "file"]
type = json-lines
file = ${events}
[auth "token"]
bearer-sha256 = ${createHash('sha256').update(token.replaceAll(' ', '-')).digest('hex')}
domain = *.example.test
issuer = outside
`)
  const csr = makeCsr({ names: ['a.example.test'] })
  const authorization = `Bearer ${token.replaceAll(' ', '-')}`
  assert.equal((await postCsr(acmems.signUrl, csr)).status, 403, 'no token')
  assert.equal((await postCsr(acmems.signUrl, csr, { authorization: 'Bearer wrong' })).status, 403, 'wrong token')
  const reply = await postCsr(acmems.signUrl, csr, { authorization })
  assert.equal(reply.status, 200, reply.text)
  const [leaf, issuer] = certificatesOf(reply.text)
  assert.deepEqual(namesOf(leaf), ['DNS:a.example.test'])
  assert.match(issuer?.subject ?? '', /CN=Outside CA/)
  assert.equal((await postCsr(acmems.signUrl, csr, { authorization })).text, reply.text, 'the storage kept it')
  // Told after the answer.
  const kinds = () => jsonLinesOf(readSoFar(events)).map(({ kind }) => kind)
  await until('all three', () => kinds().length > 2)
  assert.deepEqual(kinds(), ['request.rejected', 'request.rejected', 'certificate.issued'])
})

test('account key, dns and solver against Pebble', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('plugins')
  const accountKey = join(folder.path, 'account.key')
  execFileSync('openssl', ['genrsa', '-out', accountKey, '2048'], { stdio: 'pipe' })
  const root = join(folder.path, 'htdocs')
  mkdirSync(root)
  writeFileSync(join(root, 'index.html'), 'hello')
  await using web = await startFileServer(root)
  await using pebble = await startPebble({ httpPort: web.port })
  await using acmems = await startAcmems(`[setup]
${plugin('account-key-openssl.js')}${plugin('dns-challtestsrv.js')}${plugin('solver-webroot.js')}
${accountAt(pebble)}key = openssl:${accountKey}
[verification "zone"]
type = challtestsrv
url = ${pebble.challtestsrvUrl}
[verification "files"]
type = webroot
directory = ${root}
[auth "by dns"]
ip = 127.0.0.1
domain = *.dns.test
wildcard = yes
verification = zone
[auth "by http"]
ip = 127.0.0.1
domain = *.web.test
verification = files
`)
  const wildcard = await postCsr(acmems.signUrl, makeCsr({ names: ['*.dns.test'] }))
  assert.equal(wildcard.status, 200, wildcard.text + acmems.log())
  assert.deepEqual(namesOf(certificatesOf(wildcard.text)[0]), ['DNS:*.dns.test'])
  const plain = await postCsr(acmems.signUrl, makeCsr({ names: ['www.web.test'] }))
  assert.equal(plain.status, 200, plain.text + acmems.log())
  assert.ok(web.served() > 0, 'the CA fetched a file')
})

test('a plugin that is none says so, with the line that names it', async () => {
  await assert.rejects(startAcmems('[setup]\nplugin = ./acmems.ini\n'), /acmems\.ini:\d+: plugin /)
})

async function startFileServer(root: string) {
  let served = 0
  const server = createServer((request, response) => {
    try {
      response.end(readFileSync(join(root, request.url ?? '/')))
      served++
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as AddressInfo).port,
    served: () => served,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}
