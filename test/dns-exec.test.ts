// dns-01 by hooks in every dialect: real scripts that talk nsupdate to a real BIND, which Pebble asks.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { test } from 'node:test'
import { acmeShStandIn, nsupdatePlugin } from './acme-sh-stand-in.ts'
import { accountAt, startAcmems } from './acmems.ts'
import { queryTxt } from './dns-providers.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { type Bind, startBind } from './peers/bind.ts'
import { makeTempFolder } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { findPeer, requirePeer } from './peers/peers.ts'

type World = { readonly bind: Bind; readonly pebble: Pebble; readonly folder: string; readonly nsupdate: string }

async function inWorld(t: TestContext, act: (world: World) => Promise<void>): Promise<void> {
  const names = ['pebble', 'named', 'nsupdate', 'openssl'] as const
  if (!names.every((name) => requirePeer(t, name))) return
  using folder = makeTempFolder('hooks')
  await using bind = await startBind(['zone.test'])
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${bind.port}` })
  const peer = findPeer('nsupdate')
  const library = peer?.env.LD_LIBRARY_PATH === undefined ? '' : `LD_LIBRARY_PATH=${peer.env.LD_LIBRARY_PATH} `
  await act({ bind, pebble, folder: folder.path, nsupdate: `${library}${peer?.path} -v` })
}

function writeScript(folder: string, name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o755 })
  return path
}

/** Name and wildcard in one certificate, with the hook as configured; nothing must be left. */
async function proveByHook({ bind, pebble }: World, verification: string): Promise<string> {
  await using acmems = await startAcmems(`${accountAt(pebble)}[verification "dns"]
type = dns01-exec
resolver = 127.0.0.1:${bind.port}
nameserver = 127.0.0.1:${bind.port}
${verification}[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
wildcard = yes
[logging]
level = debug
`)
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.zone.test', '*.www.zone.test'] }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + bind.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:*.www.zone.test', 'DNS:www.zone.test'])
  assert.deepEqual(await queryTxt(bind.port, '_acme-challenge.www.zone.test'), [], acmems.log())
  const hooks = join(acmems.folder, 'state', 'hooks')
  assert.deepEqual(existsSync(hooks) ? readdirSync(hooks) : [], [], 'no folder is left')
  return acmems.log()
}

test('lego, its default mode', (t) =>
  inWorld(t, async (world) => {
    const hook = writeScript(
      world.folder,
      'lego-hook',
      `#!/bin/sh
case $1 in present) verb=add ;; cleanup) verb=delete ;; esac
printf 'server 127.0.0.1 ${world.bind.port}\\nupdate %s %s 1 IN TXT "%s"\\nsend\\n' "$verb" "$2" "$3" | ${world.nsupdate}
`,
    )
    await proveByHook(world, `hook = ${hook}\n`)
  }))

test('lego, mode RAW: the hook makes the value itself', (t) =>
  inWorld(t, async (world) => {
    const hook = writeScript(
      world.folder,
      'raw-hook',
      `#!/bin/sh
[ "$2" = -- ] && [ -n "$4" ] || exit 3
case $5 in "$4".*) ;; *) exit 4 ;; esac
value=$(printf %s "$5" | openssl dgst -sha256 -binary | openssl base64 -A | tr '+/' '-_' | tr -d =)
case $1 in present) verb=add ;; cleanup) verb=delete ;; esac
printf 'server 127.0.0.1 ${world.bind.port}\\nupdate %s _acme-challenge.%s. 1 IN TXT "%s"\\nsend\\n' "$verb" "$3" "$value" |
  ${world.nsupdate}
`,
    )
    await proveByHook(world, `dialect = lego-raw\nhook = ${hook}\n`)
  }))

test('dehydrated: the example hook of its package, its nsupdate lines made active', (t) =>
  inWorld(t, async (world) => {
    const peer = requirePeer(t, 'dehydrated')
    if (!peer || !requirePeer(t, 'bash')) return
    const root = peer.path.replace(/\/usr\/bin\/dehydrated$/, '')
    const example = readFileSync(join(root || '/', 'usr/share/doc/dehydrated/examples/hook.sh'), 'utf8')
    const active = example.replace(
      /# (printf 'server )127\.0\.0\.1(.*?)nsupdate -k \S+/g,
      `$1127.0.0.1 ${world.bind.port}$2${world.nsupdate}`,
    )
    assert.equal(active.split(world.nsupdate).length, 3, 'both lines were found')
    await proveByHook(world, `dialect = dehydrated\nhook = ${writeScript(world.folder, 'hook.sh', active)}\n`)
  }))

test('certbot: auth and cleanup hook, with what the first one wrote', (t) =>
  inWorld(t, async (world) => {
    const script = (verb: string, more: string) => `#!/bin/sh
printf 'server 127.0.0.1 ${world.bind.port}\\nupdate ${verb} _acme-challenge.%s. 1 IN TXT "%s"\\nsend\\n' "$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION" |
  ${world.nsupdate} || exit
${more}
`
    const auth = writeScript(world.folder, 'auth', script('add', 'echo "id of $CERTBOT_VALIDATION"'))
    const check = `[ "$CERTBOT_AUTH_OUTPUT" = "id of $CERTBOT_VALIDATION" ] && echo "seen $CERTBOT_REMAINING_CHALLENGES" >>"$SEEN"`
    const cleanup = writeScript(world.folder, 'cleanup', script('delete', check))
    const seen = join(world.folder, 'seen')
    await proveByHook(
      world,
      `dialect = certbot\nauth-hook = ${auth}\ncleanup-hook = ${cleanup}\nenvironment = SEEN=${seen}\n`,
    )
    assert.equal(readFileSync(seen, 'utf8'), 'seen 0\nseen 0\n')
  }))

test('acme.sh: a plugin of an installed acme.sh, with its saved credentials, which are kept out of the log', (t) =>
  inWorld(t, async (world) => {
    const home = join(world.folder, 'acme.sh')
    mkdirSync(join(home, 'dnsapi'), { recursive: true })
    writeFileSync(join(home, 'acme.sh'), acmeShStandIn)
    writeFileSync(join(home, 'dnsapi', 'dns_bindhere.sh'), nsupdatePlugin)
    const account = `LOG_FILE='/nowhere/acme.sh.log'\nSAVED_BINDHERE_Server='127.0.0.1 ${world.bind.port}'\n`
    writeFileSync(join(home, 'account.conf'), account)
    const variables = `BINDHERE_Token=a-secret-token\nexport BINDHERE_Nsupdate='${world.nsupdate}'\n`
    const file = join(world.folder, 'variables')
    writeFileSync(file, variables, { mode: 0o600 })
    const log = await proveByHook(
      world,
      `dialect = acme.sh\nplugin = dns_bindhere\nhome = ${home}\nenvironment-file = ${file}\n`,
    )
    assert.match(log, /token is \$BINDHERE_Token/)
    assert.doesNotMatch(log, /a-secret-token/)
    assert.equal(readFileSync(join(home, 'account.conf'), 'utf8'), account, 'the installed one is left alone')
    assert.deepEqual(readdirSync(home).sort(), ['account.conf', 'acme.sh', 'dnsapi'])
  }))

test("what a failing hook wrote is in the caller's answer", (t) =>
  inWorld(t, async (world) => {
    const hook = writeScript(world.folder, 'fails', '#!/bin/sh\necho "token $TOKEN: quota exceeded" >&2\nexit 7\n')
    await using acmems = await startAcmems(`${accountAt(world.pebble)}[verification "dns"]
type = dns01-exec
hook = ${hook}
environment = TOKEN=very-secret
resolver = 127.0.0.1:${world.bind.port}
[auth "all"]
ip = 127.0.0.1
domain = **.zone.test
`)
    const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['www.zone.test'] }))
    assert.equal(reply.status, 421, reply.text)
    assert.match(reply.text, /fails ended with status 7: token \$TOKEN: quota exceeded/)
    assert.doesNotMatch(acmems.log(), /very-secret/)
  }))
