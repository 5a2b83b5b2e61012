// The update API for other ACME clients: acme-dns' and lego httpreq's words, under the auth blocks' policy.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { type Acmems, accountAt, startAcmems } from './acmems.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { startBindResolver } from './peers/bind-resolver.ts'
import { makeTempFolder } from './peers/child.ts'
import { dig } from './peers/dig.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { freePort, needPeer, requirePeer } from './peers/peers.ts'
import { untilLogged } from './until.ts'

const [one, two, three] = ['1', '2', '3'].map((digit) => digit.repeat(43)) as [string, string, string]
const hmacKey = 'a shared secret of the mail servers'

type World = { readonly acmems: Acmems; readonly api: string; readonly dns: number }

async function startWithApi(account: string, dns: number): Promise<World & AsyncDisposable> {
  const port = await freePort()
  const acmems = await startAcmems(`${account}
[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${dns}
zone = acme.example.net
ns = ns1.example.net
[dns-api]
listener = 127.0.0.1:${port}
[auth "web"]
password = correct horse battery
domain = **.web.test
wildcard = yes
[auth "mail"]
hmac_type = sha256
hmac_key = ${hmacKey}
domain = mail.test
[auth "this machine"]
ip = 127.0.0.1
domain = www.local.test
`)
  return { acmems, dns, api: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => acmems.stop() }
}

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
})
const web = basic('web', 'correct horse battery')

async function post(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: Record<string, unknown> }> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const response = await fetch(url, { method: 'POST', body: text, headers })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function valuesAt(dns: number, name: string): Promise<string[]> {
  const { answer } = await dig(dns, name, 'TXT')
  return answer.map((line) => /"([^"]*)"$/.exec(line)?.[1] ?? line).sort()
}

const offline = '[account]\nacme-server = https://127.0.0.1:9/dir\n'

test('httpreq: who may prove which name', async (t) => {
  if (!requirePeer(t, 'dig')) return
  await using world = await startWithApi(offline, await freePort())
  const { api, dns } = world
  const present = (body: unknown, headers: Record<string, string>) => post(`${api}/present`, body, headers)
  const fqdn = '_acme-challenge.a.web.test.'

  assert.equal((await present({ fqdn, value: one }, web)).status, 200)
  assert.equal((await present({ fqdn: fqdn.toUpperCase().replace(/\.$/, ''), value: two }, web)).status, 200)
  assert.equal((await present({ fqdn, value: one }, web)).status, 200, 'again is the same')
  assert.deepEqual(await valuesAt(dns, '_acme-challenge.a.web.test'), [one, two])
  assert.deepEqual(await valuesAt(dns, 'a.web.test.acme.example.net'), [one, two])
  assert.equal((await post(`${api}/cleanup`, { fqdn, value: one }, web)).status, 200)
  assert.equal((await post(`${api}/cleanup`, { fqdn, value: one }, web)).status, 200, 'nothing left to do')
  assert.deepEqual(await valuesAt(dns, '_acme-challenge.a.web.test'), [two])

  await t.test('newer clients follow the CNAME and name its target', async () => {
    assert.equal((await present({ fqdn: 'b.web.test.acme.example.net.', value: one }, web)).status, 200)
    assert.deepEqual(await valuesAt(dns, '_acme-challenge.b.web.test'), [one])
    assert.equal((await present({ fqdn: 'mail.test.acme.example.net.', value: one }, web)).status, 403)
    assert.equal((await present({ fqdn: 'web.acme.example.net.', value: one }, web)).status, 400)
  })
  await t.test('RAW mode', async () => {
    const thumbprint = 'x'.repeat(43)
    const wish = { domain: 'c.web.test', token: 'token', keyAuth: `token.${thumbprint}` }
    assert.equal((await present(wish, web)).status, 200)
    assert.equal((await valuesAt(dns, '_acme-challenge.c.web.test')).length, 1)
    assert.equal((await post(`${api}/cleanup`, wish, web)).status, 200)
    assert.deepEqual(await valuesAt(dns, '_acme-challenge.c.web.test'), [])
    for (const bad of [
      { ...wish, token: 'other' },
      { ...wish, keyAuth: 'token' },
      { ...wish, domain: 'c..test' },
    ])
      assert.equal((await present(bad, web)).status, 400, JSON.stringify(bad))
  })
  await t.test("the block's own credentials do as well: an address, an HMAC over the body", async () => {
    const local = { fqdn: '_acme-challenge.www.local.test', value: one }
    assert.equal((await present(local, {})).status, 200)
    const mail = JSON.stringify({ fqdn: '_acme-challenge.mail.test', value: one })
    const hash = createHmac('sha256', hmacKey).update(mail).digest('hex')
    assert.equal((await present(mail, { authentication: `hmac name=sha256, hash=${hash}` })).status, 200)
    assert.deepEqual(await valuesAt(dns, '_acme-challenge.mail.test'), [one])
    assert.equal(
      (await present(mail, { authentication: `hmac name=sha256, hash=${hash.replace(/./g, '0')}` })).status,
      403,
    )
  })
  await t.test('refused: names of others, wrong passwords, what is no value and no name', async () => {
    for (const [name, headers, status] of [
      ['mail.test', web, 403],
      ['www.local.test', basic('web', 'wrong horse battery'), 200],
      ['a.web.test', basic('web', 'wrong horse battery'), 403],
      ['a.web.test', basic('mail', 'correct horse battery'), 403],
      ['a.web.test', {}, 403],
      // The block has **.web.test with wildcards, and *.web.test is proven by the same record as web.test.
      ['web.test', web, 200],
      ['test', web, 403],
      ['*.a.web.test', web, 400],
      ['a.web.test.', web, 200],
    ] as const)
      assert.equal((await present({ fqdn: `_acme-challenge.${name}`, value: one }, headers)).status, status, name)
    for (const body of [
      '',
      'null',
      '[]',
      '{"fqdn":',
      {},
      { fqdn, value: 'short' },
      { fqdn: 'a.web.test', value: one },
      { fqdn: 'other.example.net', value: one },
      { fqdn: ['x'], value: one },
      { fqdn, value: `${one}"` },
    ])
      assert.equal((await present(body, web)).status, 400, JSON.stringify(body))
    assert.equal((await present({ fqdn, value: 'x'.repeat(5000) }, web)).status, 413)
    assert.equal((await fetch(`${api}/present`, { headers: web })).status, 405)
    assert.equal((await fetch(`${api}/present/`, { method: 'POST', headers: web })).status, 404)
    assert.equal((await fetch(`${api}/health`)).status, 200)
  })
  await t.test('a bounded number of values for a name', async () => {
    const statuses: number[] = []
    for (let i = 0; i < 18; i++)
      statuses.push(
        (await present({ fqdn: '_acme-challenge.many.web.test', value: `${i}`.padStart(43, 'x') }, web)).status,
      )
    assert.deepEqual(statuses, [...Array<number>(16).fill(200), 429, 429])
  })
  assert.doesNotMatch(world.acmems.log(), /correct horse/)
})

test('acme-dns: accounts of a block, and of one name', async (t) => {
  if (!requirePeer(t, 'dig')) return
  await using world = await startWithApi(offline, await freePort())
  const { api, dns } = world
  const register = async (body: unknown, headers: Record<string, string>) => {
    const reply = await post(`${api}/register`, body, headers)
    return { ...reply, account: reply.body as Record<'username' | 'password' | 'fulldomain' | 'subdomain', string> }
  }
  const update = ({ username, password, subdomain }: Record<string, string>, txt: string, changes = {}) =>
    post(`${api}/update`, { subdomain, txt, ...changes }, { 'x-api-user': `${username}`, 'x-api-key': `${password}` })

  const { status, account, body } = await register('', web)
  assert.equal(status, 201)
  assert.match(account.username, /^[0-9a-f-]{36}$/)
  assert.match(account.password, /^[\w-]{40}$/)
  assert.equal(account.fulldomain, `${account.subdomain}.acme.example.net`)
  assert.deepEqual(body.allowfrom, [])

  await t.test('the last two values are kept', async () => {
    for (const txt of [one, one, two, three]) assert.deepEqual((await update(account, txt)).body, { txt })
    assert.deepEqual(await valuesAt(dns, account.fulldomain), [two, three])
    assert.equal((await update(account, two)).status, 200)
    assert.deepEqual(await valuesAt(dns, account.fulldomain), [two, three])
  })
  await t.test('refused', async () => {
    const other = (await register({}, {})).account
    for (const [what, reply, expected] of [
      ["another account's name", await update(account, one, { subdomain: other.subdomain }), 401],
      ["another account's key", await update({ ...account, password: other.password }, one), 401],
      ["another account's user", await update({ ...account, username: other.username }, one), 401],
      ['no such user', await update({ ...account, username: account.subdomain }, one), 401],
      ['no uuid', await update({ ...account, username: "' or 1=1" }, one), 401],
      ['no subdomain', await update(account, one, { subdomain: 'www' }), 400],
      ['no value', await update(account, 'short'), 400],
      ['no value at all', await update(account, one, { txt: undefined }), 400],
      ['a stranger at the door', await post(`${api}/register`, '{', web), 400],
      ['a range that is none', await register({ allowfrom: ['192.0.2.0/33'] }, web), 400],
    ] as const)
      assert.equal(reply.status, expected, what)
    assert.deepEqual((await update(account, 'short')).body.error, 'bad_txt')
    assert.equal((await post(`${api}/present`, { fqdn: `${account.fulldomain}.`, value: one }, web)).status, 400)
    assert.deepEqual(await valuesAt(dns, account.fulldomain), [two, three])
  })
  await t.test('allowfrom, with bits beyond its prefix as acme-dns shows them', async () => {
    const elsewhere = (await register({ allowfrom: ['192.168.100.1/24', '2002:c0a8:2a00::0/40'] }, web)).account
    assert.equal((await update(elsewhere, one)).status, 401)
    const here = (await register({ allowfrom: ['127.0.0.77/8'] }, web)).account
    assert.equal((await update(here, one)).status, 200)
  })
  await t.test('the password is stored as a hash, and an account without its block is worth nothing', async () => {
    const state = join(world.acmems.folder, 'state', 'state.db')
    using database = new DatabaseSync(state)
    const rows = database.prepare('select password_hash from dns_accounts').all()
    assert.ok(rows.every(({ password_hash: stored }) => /^scrypt\$16384\$8\$1\$/.test(String(stored))))
    for (const file of [state, `${state}-wal`]) assert.ok(!readFileSync(file).includes(account.password))
    const config = readFileSync(world.acmems.configFile, 'utf8')
    writeFileSync(world.acmems.configFile, config.replace('[auth "web"]', '[auth "renamed"]'))
    process.kill(world.acmems.pid, 'SIGHUP')
    await untilLogged(world.acmems, /configuration reloaded/)
    assert.equal((await update(account, one)).status, 401)
  })
})

test('kill -9: what was published is answered afterwards, and not beyond its end', async (t) => {
  if (!requirePeer(t, 'dig')) return
  const folder = makeTempFolder('killed')
  using _ = folder
  const dns = await freePort()
  const port = await freePort()
  const config = `${offline}[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${dns}
[dns-api]
listener = 127.0.0.1:${port}
[auth "all"]
ip = 127.0.0.1
domain = **.test
`
  const wish = { fqdn: '_acme-challenge.a.test', value: one }
  const first = await startAcmems(config, { folder: folder.path })
  assert.equal((await post(`http://127.0.0.1:${port}/present`, wish)).status, 200)
  process.kill(first.pid, 'SIGKILL')
  await first.stop()
  {
    await using second = await startAcmems(config, { folder: folder.path })
    assert.deepEqual(await valuesAt(dns, '_acme-challenge.a.test'), [one], second.log())
  }
  {
    using database = new DatabaseSync(join(folder.path, 'state', 'state.db'))
    const { left } = database.prepare('select min(expires_at_ms) as left from answers').get() as { left: number }
    assert.ok(left - Date.now() <= 24 * 3_600_000, 'a day at most')
    database.exec('update answers set expires_at_ms = 1')
  }
  await using third = await startAcmems(config, { folder: folder.path })
  assert.deepEqual(await valuesAt(dns, '_acme-challenge.a.test'), [], third.log())
  using database = new DatabaseSync(join(folder.path, 'state', 'state.db'))
  assert.deepEqual({ ...database.prepare('select count(*) as left from answers').get() }, { left: 0 })
})

async function runLego(
  pebble: Pebble,
  folder: string,
  env: Record<string, string>,
  args: readonly string[],
): Promise<string> {
  const peer = needPeer('lego')
  const common = ['--accept-tos', '--email', 'ops@example.test', '--server', pebble.directoryUrl, '--path', folder]
  const { stdout, stderr } = await promisify(execFile)(peer.path, [...common, '--dns.disable-cp', ...args, 'run'], {
    env: { ...process.env, ...peer.env, LEGO_CA_CERTIFICATES: pebble.caFile, ...env },
    timeout: 60_000,
  }).catch((error: { stdout: string; stderr: string }) => error)
  return stdout + stderr
}

test('lego gets certificates through httpreq and acme-dns, with the names proven by our server', async (t) => {
  if (!requirePeer(t, 'lego') || !requirePeer(t, 'pebble') || !requirePeer(t, 'named') || !requirePeer(t, 'dig')) return
  const [dns, resolver] = [await freePort(), await freePort()]
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${resolver}` })
  await using world = await startWithApi(accountAt(pebble), dns)
  using folder = makeTempFolder('lego')
  const provider = ['--dns.resolvers', `127.0.0.1:${resolver}`]
  const credentials = {
    HTTPREQ_ENDPOINT: world.api,
    HTTPREQ_USERNAME: 'web',
    HTTPREQ_PASSWORD: 'correct horse battery',
  }
  const namesIn = (file: string) =>
    namesOf(certificatesOf(readFileSync(join(folder.path, 'certificates', file), 'utf8'))[0])

  const { body: account } = await post(`${world.api}/register`, '', web)
  await using bind = await startBindResolver({
    port: resolver,
    zone: 'web.test',
    records: [
      '_acme-challenge.a IN CNAME a.web.test.acme.example.net.',
      '_acme-challenge.raw IN CNAME raw.web.test.acme.example.net.',
      `_acme-challenge.d IN CNAME ${String(account.fulldomain)}.`,
    ],
    forward: { zone: 'acme.example.net', port: dns },
  })

  await t.test('httpreq, a name and its wildcard', async () => {
    const said = await runLego(pebble, folder.path, credentials, [
      '--dns',
      'httpreq',
      ...provider,
      '-d',
      'a.web.test',
      '-d',
      '*.a.web.test',
    ])
    assert.match(said, /Server responded with a certificate/, said + world.acmems.log() + bind.log())
    assert.deepEqual(namesIn('a.web.test.crt'), ['DNS:*.a.web.test', 'DNS:a.web.test'])
    assert.deepEqual(await valuesAt(dns, 'a.web.test.acme.example.net'), [], 'lego cleans up')
  })
  await t.test('httpreq, RAW', async () => {
    const raw = { ...credentials, HTTPREQ_MODE: 'RAW' }
    const said = await runLego(pebble, folder.path, raw, ['--dns', 'httpreq', ...provider, '-d', 'raw.web.test'])
    assert.match(said, /Server responded with a certificate/, said + world.acmems.log())
  })
  await t.test('httpreq, the wrong password', async () => {
    const wrong = { ...credentials, HTTPREQ_PASSWORD: 'wrong horse battery' }
    const said = await runLego(pebble, folder.path, wrong, ['--dns', 'httpreq', ...provider, '-d', 'x.web.test'])
    assert.match(said, /403.*x\.web\.test: not in any auth block/, said)
  })
  await t.test(
    "acme-dns' update, by the documentation's hook (Debian builds lego without its acme-dns client; test/acme-sh.test.ts has one)",
    async () => {
      if (!requirePeer(t, 'curl')) return
      const hook = join(folder.path, 'acme-dns-hook')
      writeFileSync(hook, readSnippet('docs/dns-server.md', 'acme-dns hook'), { mode: 0o755 })
      const env = {
        EXEC_PATH: hook,
        EXEC_SEQUENCE_INTERVAL: '1',
        ACMEMS_DNS: world.api,
        ...{
          API_USER: String(account.username),
          API_KEY: String(account.password),
          SUBDOMAIN: String(account.subdomain),
        },
      }
      const said = await runLego(pebble, folder.path, env, ['--dns', 'exec', ...provider, '-d', 'd.web.test'])
      assert.match(said, /Server responded with a certificate/, said + world.acmems.log() + bind.log())
      assert.deepEqual(namesIn('d.web.test.crt'), ['DNS:d.web.test'])
    },
  )
  await t.test('while /sign goes on for the same names', async () => {
    const reply = await postCsr(world.acmems.signUrl, makeCsr({ names: ['a.web.test'] }), web)
    assert.equal(reply.status, 200, reply.text)
  })
})
