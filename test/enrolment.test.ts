// A host's key comes in by a one-time token: the command, the door, and what the key is good for then.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Acmems, startAcmems } from './acmems.ts'
import { type Outcome, runCommand } from './command.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { postTo, type Reply, type SigningWish, signRequest } from './request-signer.ts'

const config = `[account]
type = local
[mgmt]
default-verification =
trusted-proxy = 127.0.0.7
[auth "fleet"]
enroll = yes
domain = *.fleet.example.org
[auth "other"]
enroll = yes
domain = *.other.example.org
[auth "closed"]
ip = 192.0.2.1
enroll = no
domain = *.closed.example.org
`

let acmems: Acmems
before(async () => {
  acmems = await startAcmems(config)
})
after(() => acmems.stop())

function run(...args: string[]): Promise<Outcome> {
  return runCommand([...args, acmems.configFile])
}

async function makeToken(block = 'fleet', ...args: string[]): Promise<string> {
  const { out, err } = await run('enroll', block, '--json', ...args)
  assert.equal(err, '')
  return (JSON.parse(out) as { token: string }).token
}

const newKeys = () => generateKeyPairSync('ed25519')
const pemOf = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
const idOf = (key: KeyObject) =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64url')

function enroll(
  token: string,
  body: string,
  more: { headers?: [string, string][]; localAddress?: string; method?: string } = {},
): Promise<Reply> {
  const { headers = [], ...rest } = more
  return postTo({
    ...{ port: acmems.mgmtPort, path: '/enroll', body, ...rest },
    headers: [['Authorization', `Bearer ${token}`], ...headers],
  })
}

async function sign(key: KeyObject, keyId: string, name = 'www.fleet.example.org'): Promise<Reply> {
  const body = makeCsr({ names: [name] })
  const wish: SigningWish = { key, keyId, algorithm: 'ed25519', authority: `127.0.0.1:${acmems.mgmtPort}`, body }
  return postTo({ port: acmems.mgmtPort, body, headers: signRequest(wish) })
}

test('a token lets one key in, once or again for who lost the answer', async () => {
  const { publicKey, privateKey } = newKeys()
  const keyId = idOf(publicKey)
  assert.equal((await sign(privateKey, keyId)).status, 401)
  const token = await makeToken('fleet', '--label', 'web1')
  for (let i = 0; i < 2; i++) {
    const { status, text, headers } = await enroll(token, pemOf(publicKey))
    assert.deepEqual([status, text, headers['content-type']], [200, `${keyId}\n`, 'text/plain'])
  }
  const issued = await sign(privateKey, keyId)
  assert.equal(issued.status, 200, issued.text)
  assert.deepEqual(namesOf(certificatesOf(issued.text)[0]), ['DNS:www.fleet.example.org'])
  assert.equal((await sign(privateKey, keyId, 'www.other.example.org')).status, 403)
  assert.equal((await enroll(token, pemOf(newKeys().publicKey))).status, 401)

  const listed = JSON.parse((await run('enroll', 'list', '--json')).out) as { keys: Record<string, string>[] }
  const [key] = listed.keys.filter((one) => one.keyId === keyId)
  assert.deepEqual([key?.block, key?.label, key?.revokedAt], ['fleet', 'web1', undefined])

  // A second block, by a token of its own.
  assert.equal((await enroll(await makeToken('other'), pemOf(publicKey))).status, 200)
  assert.equal((await sign(privateKey, keyId, 'www.other.example.org')).status, 200)

  const revoked = await run('enroll', 'revoke', '--', keyId.slice(0, 10))
  assert.deepEqual([revoked.code, revoked.out], [0, `${keyId}: revoked\n`])
  assert.equal((await sign(privateKey, keyId)).status, 401)
  assert.equal((await sign(privateKey, keyId, 'www.other.example.org')).status, 401)
  for (const again of [token, await makeToken('fleet')]) {
    const reply = await enroll(again, pemOf(publicKey))
    assert.deepEqual([reply.status, reply.text], [403, 'this key was revoked: make a new one\n'])
  }
})

test('by hand, as docs/request-signatures.md has it', async (t) => {
  const shell = requirePeer(t, 'dash')
  if (!shell || !requirePeer(t, 'curl') || !requirePeer(t, 'openssl')) return
  using work = makeTempFolder('enrol')
  const lines = ['enrol lines', 'thumbprint line'].map((mark) => readSnippet('docs/request-signatures.md', mark))
  const text = lines.join('').replace('https://', 'http://')
  const env = { ...process.env, HUB: `127.0.0.1:${acmems.mgmtPort}`, TOKEN: await makeToken() }
  const { stdout } = await promisify(execFile)(shell.path, ['-c', text], { cwd: work.path, env })
  const [keyId, thumbprint, ...more] = stdout.split('\n')
  assert.match(keyId ?? '', /^[A-Za-z0-9_-]{43}$/)
  assert.deepEqual([thumbprint, more], [keyId, []])
})

test('of two keys that come at once with one token, one gets in', async () => {
  const token = await makeToken()
  const replies = await Promise.all(Array.from({ length: 8 }, () => enroll(token, pemOf(newKeys().publicKey))))
  assert.deepEqual(replies.map(({ status }) => status).sort(), [200, ...Array.from({ length: 7 }, () => 401)])
})

test('what is no token, or none any more, is refused', async () => {
  const { publicKey } = newKeys()
  for (const token of ['A'.repeat(43), '', 'x', 'A'.repeat(8000), `${'A'.repeat(42)}!`]) {
    const { status, headers } = await enroll(token, pemOf(publicKey))
    assert.equal(status, 401)
    assert.match(String(headers['www-authenticate']), /^Bearer/)
  }
  const short = await makeToken('fleet', '--valid-for', '1s')
  await setTimeout(1500)
  assert.equal((await enroll(short, pemOf(publicKey))).status, 401)
  const thrownAway = await makeToken()
  const id = createHash('sha256').update(thrownAway).digest('hex').slice(0, 12)
  assert.match((await run('enroll', 'list')).out, new RegExp(`${id}.*token, good until`))
  assert.match((await run('enroll', 'revoke', '--', id)).out, /good for nothing/)
  assert.equal((await enroll(thrownAway, pemOf(publicKey))).status, 401)
})

test('what is no key spends no token', async () => {
  const token = await makeToken()
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const secp = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  const x25519 = generateKeyPairSync('x25519')
  const { publicKey, privateKey } = newKeys()
  for (const [body, text] of [
    ['', /no public key/],
    ['-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----', /no public key/],
    ['-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', /cannot be read/],
    [privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), /private key/],
    [pemOf(weak.publicKey), /2048 to 8192 bits/],
    [pemOf(secp.publicKey), /P-256 or P-384/],
    [pemOf(x25519.publicKey), /x25519/],
  ] as const) {
    const reply = await enroll(token, body)
    assert.equal(reply.status, 400, body)
    assert.match(reply.text, text)
  }
  assert.equal((await enroll(token, 'x'.repeat(10_000))).status, 413)
  assert.equal((await enroll(token, '', { method: 'GET' })).status, 405)
  assert.equal((await enroll(token, pemOf(publicKey))).status, 200)
})

test('a token is never taken over plain HTTP beyond this machine', async () => {
  const token = await makeToken()
  const body = pemOf(newKeys().publicKey)
  const from = (headers: [string, string][], localAddress = '127.0.0.7') =>
    enroll(token, body, { headers, localAddress })
  const client: [string, string] = ['X-Forwarded-For', '192.0.2.7']
  for (const reply of [
    await from([client]),
    await from([client, ['X-Forwarded-Proto', 'http']]),
    await from([client, ['X-Forwarded-Proto', 'https, http']]),
    await from([client, ['X-Forwarded-Proto', 'https']], '127.0.0.6'),
  ]) {
    assert.equal(reply.status, 403)
    assert.match(reply.text, /only over TLS/)
  }
  assert.equal((await from([client, ['X-Forwarded-Proto', 'https']])).status, 200)
})

test('the command says what to type, and for which blocks it can', async () => {
  const { code, out } = await run('enroll', 'fleet', '--pin', 'sha256//x', '--server', 'https://hub.example:1313')
  assert.equal(code, 0)
  const rest = 'enroll --server https://hub.example:1313 --token [A-Za-z0-9_-]{43} --pin sha256//x'
  assert.match(out, new RegExp(`^sh agent.sh ${rest}\nacmems agent ${rest}\n\nOne of these lines`))
  assert.match((await run('enroll', 'fleet')).out, new RegExp(`--server http://127.0.0.1:${acmems.mgmtPort} --token`))
  for (const args of [['closed'], ['nobody'], ['fleet', '--valid-for', 'soon'], ['fleet', '--label', 'a\nb']]) {
    const refused = await run('enroll', ...args)
    assert.equal(refused.code, 2, args.join(' '))
    assert.notEqual(refused.err, '')
  }
  assert.equal((await run('enroll', 'revoke', 'nothing-like-it')).code, 1)
})

test('no token is in the state or in the log', async () => {
  const token = await makeToken()
  assert.equal((await enroll(token, pemOf(newKeys().publicKey))).status, 200)
  for (const name of ['state.db', 'state.db-wal'])
    assert.ok(!readFileSync(join(acmems.folder, 'state', name)).includes(token))
  assert.ok(!acmems.log().includes(token))
})

test('where nonces cannot be remembered, nothing that is signed is accepted', async () => {
  const { publicKey, privateKey } = newKeys()
  assert.equal((await enroll(await makeToken(), pemOf(publicKey))).status, 200)
  const database = new DatabaseSync(join(acmems.folder, 'state', 'state.db'))
  database.exec('ALTER TABLE signature_nonces RENAME TO hidden')
  const refused = await sign(privateKey, idOf(publicKey))
  assert.equal(refused.status, 503)
  assert.equal(refused.headers['retry-after'], '30')
  database.exec('ALTER TABLE hidden RENAME TO signature_nonces')
  database.close()
  assert.equal((await sign(privateKey, idOf(publicKey))).status, 200)
})
