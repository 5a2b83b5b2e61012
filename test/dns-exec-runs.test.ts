// How hooks are run: what they see, when they end, what becomes of their output.
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ChallengeTask } from '../src/plugin-api.ts'
import { execProvider } from '../src/plugins/dns/exec.ts'
import { acmeShStandIn } from './acme-sh-stand-in.ts'
import { createProvider, logged, providerContext, stateFolder } from './dns-providers.ts'
import { makeTempFolder } from './peers/child.ts'

const record = { fqdn: '_acme-challenge.www.zone.test', value: 'the-value' }
const task: ChallengeTask = {
  identifier: { type: 'dns', value: 'www.zone.test' },
  wildcard: false,
  challenge: {
    type: 'dns-01',
    url: 'https://ca.test/c/1',
    status: 'pending',
    token: '-token',
  } as ChallengeTask['challenge'],
  keyAuthorization: '-token.thumbprint',
  expiresAtMs: Number.MAX_SAFE_INTEGER,
}

function makeScript(folder: string, text: string, name = 'hook', mode = 0o755): string {
  const path = join(folder, name)
  writeFileSync(path, text.startsWith('#!') ? text : `#!/bin/sh\n${text}`, { mode })
  return path
}

const exists = (path: string) => statSync(path, { throwIfNoEntry: false }) !== undefined

test('its environment is only what it needs and what it was given, its folder is /', async () => {
  using folder = makeTempFolder('runs')
  process.env.OURS_ONLY = 'not for hooks'
  const out = join(folder.path, 'out')
  const hook = makeScript(folder.path, `{ pwd; echo "$@"; env; } >"$OUT"`)
  const given = ['LANG=de_DE', `OUT=${out}`, 'WITH=a=b c', 'export QUOTED="x y"']
  const provider = await createProvider(execProvider, {
    hook,
    argument: ['--zone', 'a b; echo $HOME'],
    environment: given,
  })
  await provider.addTxt(record, providerContext(), task)
  const [cwd, args, ...env] = readFileSync(out, 'utf8').trim().split('\n')
  assert.equal(cwd, '/')
  assert.equal(args, '--zone a b; echo $HOME present _acme-challenge.www.zone.test. the-value')
  const names = env
    .map((line) => line.split('=')[0])
    .filter((name) => !['PWD', '_', 'SHLVL', 'OLDPWD'].includes(name ?? ''))
  assert.deepEqual(names.sort(), ['HOME', 'LANG', 'OUT', 'PATH', 'QUOTED', 'TMPDIR', 'WITH'])
  assert.ok(env.includes('LANG=de_DE') && env.includes('WITH=a=b c') && env.includes('QUOTED=x y'))
})

test('the arguments and variables of every dialect, also where a delegation leads elsewhere', async () => {
  using folder = makeTempFolder('runs')
  const out = join(folder.path, 'out')
  const hook = makeScript(
    folder.path,
    `for word; do printf '[%s]' "$word"; done >"$OUT"; [ -z "$CERTBOT_DOMAIN" ] || printf '%s,%s,%s' "$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION" "\${CERTBOT_AUTH_OUTPUT-unset}" >>"$OUT"`,
  )
  const seen = async (dialect: string, action: 'addTxt' | 'removeTxt', fqdn = record.fqdn) => {
    const hooks = dialect === 'certbot' ? { 'auth-hook': hook, 'cleanup-hook': hook } : { hook }
    const provider = await createProvider(execProvider, { dialect, ...hooks, environment: `OUT=${out}` })
    await provider[action]({ ...record, fqdn }, providerContext(), task)
    return readFileSync(out, 'utf8')
  }
  assert.equal(await seen('lego', 'addTxt'), '[present][_acme-challenge.www.zone.test.][the-value]')
  assert.equal(await seen('lego', 'removeTxt', 'x.other.test'), '[cleanup][x.other.test.][the-value]')
  assert.equal(await seen('lego-raw', 'addTxt'), '[present][--][www.zone.test][-token][-token.thumbprint]')
  assert.equal(await seen('dehydrated', 'addTxt'), '[deploy_challenge][www.zone.test][-token][the-value]')
  assert.equal(await seen('dehydrated', 'removeTxt'), '[clean_challenge][www.zone.test][-token][the-value]')
  assert.equal(await seen('certbot', 'addTxt'), 'www.zone.test,the-value,unset')
  assert.equal(await seen('certbot', 'removeTxt'), 'www.zone.test,the-value,')
  const withoutCleanup = await createProvider(execProvider, { dialect: 'certbot', 'auth-hook': '/nowhere' })
  await withoutCleanup.removeTxt(record, providerContext(), task)
  const delegated = '_acme-challenge.www.acme.test'
  assert.equal(await seen('dehydrated', 'addTxt', delegated), '[deploy_challenge][www.acme.test][-token][the-value]')
  assert.equal(await seen('certbot', 'addTxt', 'www.acme.test'), 'www.zone.test,the-value,unset')
})

test('its time is bounded, with all that it has started', async () => {
  using folder = makeTempFolder('runs')
  const [late, started] = [join(folder.path, 'late'), join(folder.path, 'started')]
  const hook = makeScript(
    folder.path,
    `trap '' TERM\n(trap '' TERM; sleep 4; touch ${late}) &\ntouch ${started}\necho working on it\nsleep 30`,
  )
  const provider = await createProvider(execProvider, { hook, timeout: '1' })
  const beganAtMs = performance.now()
  await assert.rejects(provider.addTxt(record, providerContext()), /hook did not end within 1 s: working on it/)
  assert.ok(performance.now() - beganAtMs < 20_000)
  assert.ok(exists(started))
  await sleep(Math.max(0, 5500 - (performance.now() - beganAtMs)))
  assert.ok(!exists(late), 'what it left in the background was ended, too')
})

test('is ended when the server stops', async () => {
  using folder = makeTempFolder('runs')
  const hook = makeScript(folder.path, 'exec sleep 60')
  const provider = await createProvider(execProvider, { hook })
  const stopping = new AbortController()
  setTimeout(() => stopping.abort(new Error('the server stops')), 300)
  await assert.rejects(provider.addTxt(record, providerContext(stopping.signal)), /the server stops/)
})

test('a background process that keeps the output open does not keep us', async () => {
  using folder = makeTempFolder('runs')
  const hook = makeScript(folder.path, 'sleep 8 &\necho done')
  const beganAtMs = performance.now()
  await (await createProvider(execProvider, { hook })).addTxt(record, providerContext())
  assert.ok(performance.now() - beganAtMs < 6000)
})

test('output is bounded, one line, and without secrets', async () => {
  using folder = makeTempFolder('runs')
  const hook = makeScript(
    folder.path,
    `head -c 3000000 /dev/zero | tr '\\0' x\nprintf '\\n\\033[31mred %s and %s\\n' "$LONGER" "$TOKEN" >&2\nexit 1`,
  )
  const provider = await createProvider(execProvider, {
    hook,
    environment: ['TOKEN=secret', 'LONGER=secret-secret', 'TTL=300'],
  })
  logged.length = 0
  await assert.rejects(provider.addTxt(record, providerContext()), (error: Error) => {
    assert.ok(error.message.length < 1500)
    assert.match(error.message, /ended with status 1/)
    return true
  })
  const output = String(logged.find(({ message }) => message === 'the hook failed')?.fields?.output)
  assert.ok(output.length <= 64 * 1024 + 100)
  assert.match(output, /red \$LONGER and \$TOKEN\n$/)
})

test('what cannot be started says why', async () => {
  using folder = makeTempFolder('runs')
  const failing = async (hook: string) =>
    (await createProvider(execProvider, { hook })).addTxt(record, providerContext())
  await assert.rejects(failing(join(folder.path, 'absent')), /absent is not there/)
  await assert.rejects(failing(makeScript(folder.path, 'exit 0', 'plain', 0o644)), /may not be run/)
  await assert.rejects(
    failing(makeScript(folder.path, '#!/no/such/interpreter\n', 'odd')),
    /the interpreter that its first line names/,
  )
  await assert.rejects(
    failing(makeScript(folder.path, 'kill -9 $$', 'killed')),
    /was ended by SIGKILL and wrote nothing/,
  )
})

test('one at a time, unless it may run in parallel', async () => {
  using folder = makeTempFolder('runs')
  const text = `[ -e ${folder.path}/busy ] && echo both >>${folder.path}/clash\ntouch ${folder.path}/busy\nsleep 0.3\nrm -f ${folder.path}/busy`
  const hook = makeScript(folder.path, text)
  // Two instances, as after a reload or with two sections.
  const providers = [await createProvider(execProvider, { hook }), await createProvider(execProvider, { hook })]
  const records = Array.from({ length: 6 }, (_, index) => ({ ...record, value: `v${index}` }))
  await Promise.all(records.map((one, index) => providers[index % 2]?.addTxt(one, providerContext())))
  assert.ok(!exists(join(folder.path, 'clash')))
  const parallel = await createProvider(execProvider, { hook, parallel: 'yes' })
  await Promise.all(records.map((one) => parallel.addTxt(one, providerContext())))
  assert.ok(exists(join(folder.path, 'clash')), 'these did run at once')
})

test('a failed run does not hold up the next', async () => {
  using folder = makeTempFolder('runs')
  const hook = makeScript(folder.path, '[ "$3" = good ]')
  const provider = await createProvider(execProvider, { hook })
  const [bad, good] = await Promise.allSettled(
    ['bad', 'good'].map((value) => provider.addTxt({ ...record, value }, providerContext())),
  )
  assert.deepEqual([bad?.status, good?.status], ['rejected', 'fulfilled'])
})

test('acme.sh that is not installed, and a plugin that it has not', async () => {
  using folder = makeTempFolder('runs')
  const add = async (plugin: string) =>
    (await createProvider(execProvider, { dialect: 'acme.sh', plugin, home: folder.path })).addTxt(
      record,
      providerContext(),
    )
  await assert.rejects(add('dns_cf'), /there is no acme\.sh in /)
  writeFileSync(join(folder.path, 'acme.sh'), '')
  await assert.rejects(add('dns_cf'), /acme\.sh in .* has no plugin dns_cf/)
})

test('acme.sh: its folder is private, and gone also when the plugin is ended; what a crash left goes later', async () => {
  using folder = makeTempFolder('runs')
  const plugin = `dns_slow_add() { ls -ld "$LE_CONFIG_HOME"; sleep 30; }
dns_quick_add() { [ "$1 $2" = "${record.fqdn} ${record.value}" ]; }
dns_quick_rm() { return 5; }
`
  writeFileSync(join(folder.path, 'acme.sh'), acmeShStandIn)
  for (const name of ['dns_slow', 'dns_quick', 'dns_none']) writeFileSync(join(folder.path, `${name}.sh`), plugin)
  const make = (name: string) =>
    createProvider(execProvider, { dialect: 'acme.sh', plugin: name, home: folder.path, timeout: '1' })
  const hooks = join(stateFolder, 'hooks')
  const leftover = join(hooks, 'acme.sh-crash')
  mkdirSync(leftover, { recursive: true })
  utimesSync(leftover, 1, 1)
  const slow = (await make('dns_slow')).addTxt(record, providerContext())
  await assert.rejects(slow, /did not end within 1 s: drwx------/)
  assert.deepEqual(readdirSync(hooks), [])
  const quick = await make('dns_quick')
  await quick.addTxt(record, providerContext())
  await assert.rejects(quick.removeTxt(record, providerContext()), /ended with status 5/)
  const none = await make('dns_none')
  await assert.rejects(none.addTxt(record, providerContext()), /dns_none has no dns_none_add/)
  await none.removeTxt(record, providerContext())
  assert.deepEqual(readdirSync(hooks), [])
})

test('mistakes in the configuration', async () => {
  const mistakes: [Record<string, string | string[]>, RegExp][] = [
    [{}, /dialect = lego needs hook/],
    [{ hook: 'script.sh' }, /"script\.sh" is no full path/],
    [{ hook: '/a', dialect: 'bash' }, /"bash" is none of lego, lego-raw, acme\.sh, dehydrated, certbot/],
    [{ dialect: 'certbot', hook: '/a' }, /dialect = certbot needs auth-hook/],
    [{ dialect: 'certbot', 'auth-hook': '/a', hook: '/b' }, /dialect = certbot has no hook/],
    [{ dialect: 'acme.sh', plugin: 'dns_cf', argument: 'x' }, /has no argument/],
    [{ dialect: 'acme.sh', plugin: '../evil' }, /"\.\.\/evil" is no plugin's name/],
    [{ hook: '/a', environment: 'secret without a name' }, /^environment: a line is not of the form NAME=VALUE$/],
  ]
  for (const [values, expected] of mistakes)
    await assert.rejects(createProvider(execProvider, values), { message: expected })
})
