// Whether what was issued is served: a managed certificate behind real nginx, hosts that pick up, what is told of it.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { startNginx } from './peers/web-servers.ts'
import { until } from './until.ts'

const local = '[account]\ntype = local\n'

/** @param pauseMs longer where a look is a process of its own */
type AuditLine = { readonly kind: string; readonly facts: Readonly<Record<string, string>> }

test('nginx that never reads its certificate anew: told, audited, listed; and told when it has', async (t) => {
  if (!requirePeer(t, 'nginx') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('deployment')
  const web = join(folder.path, 'web')
  const port = await freePort()
  await using acmems = await startAcmems(
    `${local}[certificate "web"]\ndomain = www.example.org\ndirectory = ${web}\nprobe = 127.0.0.1:${port}\n`,
    { folder: folder.path },
  )
  await until('the certificate', () => existsSync(join(web, 'fullchain.pem')))
  const pem = () => readFileSync(join(web, 'fullchain.pem'), 'utf8')
  await using nginx = await startNginx(
    `server { listen 127.0.0.1:${port} ssl; ssl_certificate ${web}/fullchain.pem; ssl_certificate_key ${web}/privkey.pem; }`,
    { httpPort: port },
  )
  assert.ok(nginx)
  type Listed = { state: string; serial: string; served: { verdict: string; servedSerial?: string }[] }
  const newest = async () => {
    const all = await runJson<Listed[]>(['certs', 'list', acmems.configFile])
    return all.find(({ state }) => state !== 'superseded')
  }
  await until('being served', async () => (await newest())?.served[0]?.verdict === 'newest', {
    withinMs: 60_000,
    everyMs: 1000,
  })

  const former = pem()
  const first = await newest()
  const renewed = await runCommand(['certs', 'renew', 'www.example.org', acmems.configFile])
  assert.equal(renewed.code, 0, renewed.err)
  await until('the renewal', () => pem() !== former)
  const saw = (what: string, isIt: (serial: unknown) => boolean) =>
    acmems.logLines().some(({ msg, serial }) => msg === what && isIt(serial))
  const audit = async (kind: string) => {
    const all = await runJson<AuditLine[]>(['audit', '--kind', kind, acmems.configFile])
    // Before nginx ran, nothing answered: that may have been told, too.
    return all.find(({ facts }) => facts.serial !== first?.serial)
  }
  await until('being seen', () => saw('a certificate is not served', (serial) => serial !== first?.serial))
  const told = await until('being told', () => audit('certificate.not-served'))
  const entry = await newest()
  assert.notEqual(entry?.serial, first?.serial)
  assert.equal(told.facts.place, `www.example.org@127.0.0.1:${port}`)
  assert.equal(told.facts.serial, entry?.serial)
  assert.match(told.facts.reason ?? '', new RegExp(`^an older certificate, serial ${first?.serial}, good until 20`))
  assert.deepEqual([entry?.served[0]?.verdict, entry?.served[0]?.servedSerial], ['older', first?.serial])
  const table = await runCommand(['certs', 'list', acmems.configFile])
  assert.match(table.out, /SERVED/)
  assert.match(table.out, new RegExp(`older: ${first?.serial.slice(0, 12)}`))
  const shown = await runCommand(['certs', 'show', 'www.example.org', acmems.configFile])
  assert.match(shown.out, /^served +www\.example\.org@127\.0\.0\.1:\d+: an older certificate, serial/m)
  const check = await runCommand(['deploy-check', 'web', acmems.configFile])
  assert.equal(check.code, 1)
  assert.match(check.out, /serves an older one, serial [0-9A-F]+, good until 20/)

  // A reload, at last.
  const pid = Number(readFileSync(join(nginx.configFile, '../nginx.pid'), 'utf8'))
  process.kill(pid, 'SIGHUP')
  await until(
    'being served again',
    async () => (await runCommand(['deploy-check', 'web', acmems.configFile])).code === 0,
    { withinMs: 60_000, everyMs: 500 },
  )
  // Whoever reloads acmems does not wait for the next look.
  process.kill(acmems.pid, 'SIGHUP')
  await until('being seen', () => saw('a certificate is served again', (serial) => serial === entry?.serial))
  const recovered = await until('being told', () => audit('certificate.served'))
  assert.equal(recovered.facts.serial, entry?.serial)
  assert.ok(acmems.logLines().some(({ msg }) => msg === 'a certificate is served again'))
})

test('acmems renew looks once: nothing answers, then nginx does; places that cannot be meant are refused', async (t) => {
  if (!requirePeer(t, 'nginx') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('deployment')
  const web = join(folder.path, 'web')
  const port = await freePort()
  const config = join(folder.path, 'acmems.ini')
  const text = `[state]\nurl = sqlite:${join(folder.path, 'state', 'state.db')}\n${local}[certificate "web"]
domain = www.example.org\ndirectory = ${web}\nprobe = 127.0.0.1:${port}\n`
  writeFileSync(config, text)
  const alone = await runCommand(['renew', config])
  assert.equal(alone.code, 1)
  assert.match(alone.out, /^web: installed /)
  assert.equal(alone.err, `web: not served at www.example.org@127.0.0.1:${port}: connection refused\n`)
  await using _ = await startNginx(
    `server { listen 127.0.0.1:${port} ssl; ssl_certificate ${web}/fullchain.pem; ssl_certificate_key ${web}/privkey.pem; }`,
    { httpPort: port },
  )
  assert.deepEqual(await runCommand(['renew', config]), { code: 0, out: '', err: '' })
  const kinds = (await runJson<AuditLine[]>(['audit', config])).map(({ kind }) => kind)
  assert.deepEqual(kinds.filter((kind) => /served/.test(kind)).sort(), ['certificate.not-served', 'certificate.served'])

  writeFileSync(config, text.replace('probe = 127.0.0.1', 'probe = caller'))
  const refused = await runCommand(['check-config', config])
  assert.match(refused.out + refused.err, /\[certificate "web"\] has probe = caller without a recipient/)
  const block = '[auth "a"]\nip = 127.0.0.1\ndomain = a.example\nstorage = none\nprobe = caller:443\n'
  writeFileSync(config, `${local}[storage "none"]\ntype = none\n${block}`)
  const warned = await runCommand(['check-config', config])
  assert.deepEqual([warned.code, /who picked up is not remembered/.test(warned.out + warned.err)], [0, true])
})
