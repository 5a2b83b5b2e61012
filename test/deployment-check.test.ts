// docs/deployment.md is true: hosts pick up at /sign, real nginx and openssl s_server serve what they got, or not.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startAcmems } from './acmems.ts'
import { runCommand, runJson } from './command.ts'
import { readSnippet } from './documentation.ts'
import { makeLeaf } from './leaf-certificates.ts'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort, needPeer, requirePeer } from './peers/peers.ts'
import { startNginx } from './peers/web-servers.ts'
import { until } from './until.ts'

const file = 'docs/deployment.md'

/** What another machine and another moment print differently. */
const normalise = (line: string) =>
  line
    .replace(/ at ([\w.]+@)?(smtp:\/\/)?[\w.@]+:\d+:/, ' at PLACE:')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/\b[0-9A-F]{12,40}\b/g, 'SERIAL')
    .replace(/\d+[smhd] ago by [\d.]+/, 'SPAN ago by CLIENT')

test('hosts that picked up and do not serve are found', async (t) => {
  for (const peer of ['nginx', 'ngx_mail_module.so', 'openssl', 'curl'] as const) if (!requirePeer(t, peer)) return
  using folder = makeTempFolder('deploy-check')
  const at = (name: string) => join(folder.path, name)
  const [tls, smtp] = [await freePort(), await freePort()]
  const configuration = `[account]\ntype = local
[auth "mail"]\nip = 127.0.0.1\ndomain = mail.example.org\nprobe = smtp://127.0.0.1:${smtp}
[auth "web"]\nip = 127.0.0.0/8\ndomain = www.example.org\nprobe = caller:${tls}
[auth "nothing"]\nip = 127.0.0.0/8\ndomain = nothing.example.org\nprobe = no\n`
  await using acmems = await startAcmems(configuration, { folder: folder.path })

  /** The README's lines, from an address of its own, with a key that stays where it was until `move`. */
  function pickUp(name: string, client: string, host: string, isNew = true): void {
    const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'pipe', cwd: folder.path })
    if (isNew) {
      run('openssl', 'ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', `${host}.key`)
      run(
        'openssl',
        'req',
        '-new',
        '-key',
        `${host}.key`,
        '-subj',
        '/',
        '-addext',
        `subjectAltName=DNS:${name}`,
        '-out',
        `${host}.csr`,
      )
    }
    run(
      'curl',
      '-sS',
      '--fail',
      '--interface',
      client,
      '--data-binary',
      `@${host}.csr`,
      '-o',
      `${host}.pem`,
      acmems.signUrl,
    )
  }
  pickUp('www.example.org', '127.0.0.5', 'web')
  copyFileSync(at('web.pem'), at('old-web.pem'))
  copyFileSync(at('web.key'), at('old-web.key'))
  pickUp('www.example.org', '127.0.0.6', 'web', false)
  pickUp('mail.example.org', '127.0.0.1', 'mail')
  pickUp('nothing.example.org', '127.0.0.5', 'nothing')
  // Both web hosts come again, with another key; only one of them tells its server. Nobody fetches the new one for mail.
  await sleep(1100)
  pickUp('www.example.org', '127.0.0.5', 'web')
  pickUp('www.example.org', '127.0.0.6', 'web', false)
  assert.equal((await runCommand(['certs', 'renew', 'mail.example.org', acmems.configFile])).code, 0)

  const ssl = (host: string) => `ssl_certificate ${at(`${host}.pem`)}; ssl_certificate_key ${at(`${host}.key`)};`
  await using _ = await startNginx(
    `server { listen 127.0.0.1:${tls} ssl; listen 127.0.0.5:${tls} ssl; ${ssl('web')} }
server { listen 127.0.0.6:${tls} ssl; ${ssl('old-web')} }`,
    {
      httpPort: tls,
      alsoPorts: [smtp],
      mail: `mail { server_name mail.example.org; auth_http 127.0.0.1:1/; server { listen 127.0.0.1:${smtp}; protocol smtp; starttls on; ${ssl('mail')} } }`,
    },
  )

  const printed = async (mark: string, code: number, words: (words: string[]) => string[]) => {
    const [command = '', ...lines] = readSnippet(file, mark).trimEnd().split('\n')
    const {
      out,
      err,
      code: ended,
    } = await runCommand(words(command.slice('$ acmems '.length).split(' ')), '', folder.path)
    assert.equal(ended, code, err)
    assert.deepEqual(out.trimEnd().split('\n').map(normalise).sort(), lines.map(normalise).sort(), out)
    return out
  }
  const out = await printed('deploy-check', 1, (words) => words)
  assert.match(out, /127\.0\.0\.6:\d+: serves an older one.*ago by 127\.0\.0\.6, still/)

  type Checked = { names: string[]; verdict: string; isWrong: boolean; address?: string; pickUps: { client: string }[] }
  const graced = await runJson<Checked[]>(['deploy-check', '--grace', '1d', acmems.configFile])
  assert.deepEqual(graced.map(({ verdict, isWrong }) => [verdict, isWrong]).sort(), [
    ['newest', false],
    ['older', false],
    ['older', false],
  ])
  assert.deepEqual(
    new Set(graced.flatMap(({ pickUps }) => pickUps.map(({ client }) => client))),
    new Set(['127.0.0.5', '127.0.0.6', '127.0.0.1']),
  )

  // Something else altogether, by openssl's own server.
  const other = makeLeaf(folder.path, 'other', 'DNS:other.example.org')
  const port = await freePort()
  const openssl = needPeer('openssl')
  await using server = startChild(
    openssl.path,
    ['s_server', '-accept', `127.0.0.1:${port}`, '-cert', other.certificateFile, '-key', other.keyFile, '-quiet'],
    { env: { ...process.env, ...openssl.env }, cwd: folder.path, logFile: at('s_server.log') },
  )
  await waitUntilReady(server, 'openssl s_server', () => acceptsTcp(port))
  await printed('deploy-check at', 1, (words) => words.map((word) => (/:443$/.test(word) ? `127.0.0.1:${port}` : word)))

  const closed = await runCommand([
    'deploy-check',
    'www.example.org',
    '--at',
    `127.0.0.1:${await freePort()}`,
    acmems.configFile,
  ])
  assert.deepEqual([closed.code, /does not answer: connection refused/.test(closed.out)], [1, true])
  const unknown = await runCommand(['deploy-check', 'nobody.example.org', acmems.configFile])
  assert.deepEqual([unknown.code, /nobody\.example\.org/.test(unknown.err)], [1, true])
  const wrong = await runCommand(['deploy-check', '--at', 'nowhere', acmems.configFile])
  assert.equal(wrong.code, 2)
  const shown = await runCommand(['certs', 'show', 'mail.example.org', acmems.configFile])
  assert.match(shown.out, /^picked up +\d{4}-.* by 127\.0\.0\.1, serial [0-9A-F]+$/m)
})

test('who fetches a sealed box is remembered, and it is looked at where its auth block says', async (t) => {
  if (!requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('deploy-box')
  const recipient = join(folder.path, 'printer.pub')
  execFileSync('openssl', ['genrsa', '-out', `${recipient}.key`, '2048'], { stdio: 'pipe' })
  execFileSync('openssl', ['rsa', '-in', `${recipient}.key`, '-pubout', '-out', recipient], { stdio: 'pipe' })
  const port = await freePort()
  await using acmems = await startAcmems(
    `[account]\ntype = local\n[auth "printers"]\nip = 127.0.0.0/8\ndomain = other.example.org\nprobe = caller:${port}
[auth "quiet"]\nip = 127.0.0.0/8\ndomain = quiet.example.org\nstorage = none\nmetadata = no
[storage "none"]\ntype = none
[certificate "printer"]\ndomain = printer.example.org\nrecipient = ${recipient}\nauth = printers
[certificate "quiet"]\ndomain = quiet.example.org\nrecipient = ${recipient}\nauth = quiet\n`,
    { folder: folder.path },
  )
  const fetchBox = (name: string, method: string) =>
    fetch(`http://127.0.0.1:${acmems.mgmtPort}/box/${name}`, { method }).then(({ status }) => status)
  for (const name of ['printer', 'quiet'])
    await until(`the box of ${name}`, async () => (await fetchBox(name, 'HEAD')) === 200)
  type Shown = { pickUps: { client: string; at: string }[]; served: unknown[] }
  const show = (name: string) => runJson<Shown>(['certs', 'show', name, acmems.configFile])
  assert.deepEqual((await show('printer.example.org')).pickUps, [], 'HEAD fetches nothing')
  for (const name of ['printer', 'printer', 'quiet']) assert.equal(await fetchBox(name, 'GET'), 200)
  const pickUps = await until('the pick-up', async () => {
    const { pickUps: all } = await show('printer.example.org')
    return all.length > 0 && all
  })
  assert.deepEqual(
    pickUps.map(({ client }) => client),
    ['127.0.0.1'],
  )
  assert.deepEqual((await show('quiet.example.org')).pickUps, [], 'metadata = no')
  const checked = await runCommand(['deploy-check', 'printer', acmems.configFile])
  assert.equal(
    checked.out,
    `printer.example.org at printer.example.org@127.0.0.1:${port}: does not answer: connection refused\n`,
  )
})
