// The documents are true: every configuration loads, every command runs, the README's lines get certificates.
import assert from 'node:assert/strict'
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { hostLines } from '../src/cli/host-lines.ts'
import { loadConfig } from '../src/config/load.ts'
import { sectionKinds } from '../src/config/sections.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { checkout, readSnippet, readSnippets } from './documentation.ts'
import { certificatesOf, namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { type PeerName, requirePeer } from './peers/peers.ts'

const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'examples/README.md',
  ...globSync('docs/**/*.md', { cwd: checkout }),
]

test("the demo runs the README's lines", () => {
  assert.equal(readSnippet('README.md', 'five lines'), `${hostLines.join('\n')}\n`)
  assert.equal(hostLines.length, 5)
})

const configurations = documents.flatMap(readSnippets).filter(({ mark }) => mark === 'configuration')

for (const { file, text } of configurations) {
  test(`${file}: the configuration beginning "${text.split('\n')[0]}" loads`, async () => {
    using folder = makeTempFolder('docs')
    const [config, secret] = [join(folder.path, 'acmems.ini'), join(folder.path, 'secret')]
    writeFileSync(secret, Buffer.from('a secret that is long enough').toString('base64'))
    writeFileSync(config, text.replaceAll(/(-file = )\S+/g, `$1${secret}`))
    await loadConfig({ files: [config], environment: {}, assignments: [], lenient: false, plugins: builtinPlugins })
  })
}

test('every configuration shown is marked, so that it is tested', () => {
  const shown = documents
    .map((file) => readFileSync(join(checkout, file), 'utf8').match(/```ini\n/g)?.length ?? 0)
    .reduce((sum, count) => sum + count)
  // The examples' [setup] block is what test/plugins.test.ts does with every plugin.
  assert.equal(configurations.length, shown - 1)
})

test('links lead somewhere', () => {
  for (const file of documents) {
    const text = readFileSync(join(checkout, file), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)) {
      assert.ok(existsSync(resolve(checkout, dirname(file), target)), `${file} links to ${target}`)
    }
  }
})

test('the layers that docs/configuration.md shows mean the same', async () => {
  const load = (environment: Record<string, string>, assignments: string[]) =>
    loadConfig({ files: [], environment, assignments, lenient: false, plugins: builtinPlugins })
  const withBlock = ['auth.mail.domain=a.example']
  for (const [environment, assignments] of [
    [
      { ACMEMS_MGMT_MAX_SIZE: '4k', ACMEMS_MGMT_LISTENER: '1.2.3.4:5 1.2.3.4:6', ACMEMS_AUTH__MAIL__IP: '1.2.3.4' },
      withBlock,
    ],
    [
      {},
      [
        ...withBlock,
        'mgmt.max-size=4k',
        'mgmt.listener=1.2.3.4:5',
        'mgmt.listener=1.2.3.4:6',
        'auth."mail".ip=1.2.3.4',
      ],
    ],
  ] as const) {
    const config = await load(environment, [...assignments])
    assert.deepEqual([config.mgmt['max-size'], config.mgmt.listener], [4096, ['1.2.3.4:5', '1.2.3.4:6']])
    assert.deepEqual(config.blocks[0]?.credentials[0]?.options.ip, ['1.2.3.4'])
  }
})

type Shell = {
  readonly name: string
  readonly shell: PeerName
  readonly tool: PeerName
  readonly post: string
  readonly key: 'ec' | 'rsa'
  readonly secret: boolean
}

const variants: Shell[] = (['dash', 'bash'] as const).flatMap((shell) => [
  { name: `${shell}, curl, EC`, shell, tool: 'curl', post: '', key: 'ec', secret: false },
  { name: `${shell}, wget, RSA`, shell, tool: 'wget', post: 'wget line', key: 'rsa', secret: false },
  { name: `${shell}, curl, RSA, HMAC`, shell, tool: 'curl', post: 'hmac line', key: 'rsa', secret: true },
])

/** The README's lines, with our addresses, and with the line for this variant in the place of the fourth. */
function linesFor(variant: Shell, acmems: string, host: string): string {
  const [, key = '', csr = '', post = '', move = ''] = readSnippet('README.md', 'five lines').trimEnd().split('\n')
  const rsa = `openssl genrsa -out $HOST.key 2048`
  return [
    `ACMEMS=${acmems} HOST=${host} KEY='a shared secret'`,
    variant.key === 'rsa' ? rsa : key,
    csr,
    variant.post === '' ? post : readSnippet('README.md', variant.post).trimEnd(),
    move,
  ].join('\n')
}

test("the README's lines get a certificate that Pebble validated", async (t) => {
  if (!requirePeer(t, 'pebble')) return
  await using pebble = await startPebble()
  await using acmems = await startAcmems(`${accountAndHttp01(pebble)}[auth "open"]
ip = 127.0.0.1
domain = open*.example.test
[auth "secret"]
hmac_type = sha256
hmac_key = a shared secret
domain = secret*.example.test
`)
  for (const [index, variant] of variants.entries()) {
    await t.test(variant.name, async (variantTest) => {
      const shell = requirePeer(variantTest, variant.shell)
      if (!shell || !requirePeer(variantTest, variant.tool) || !requirePeer(variantTest, 'openssl')) return
      using folder = makeTempFolder('lines')
      const host = `${variant.secret ? 'secret' : 'open'}${index}.example.test`
      const lines = linesFor(variant, `http://127.0.0.1:${acmems.mgmtPort}`, host)
      await promisify(execFile)(shell.path, ['-c', lines], { cwd: folder.path })
      const chain = readFileSync(join(folder.path, `${host}.pem`), 'utf8')
      assert.deepEqual(namesOf(certificatesOf(chain)[0]), [`DNS:${host}`])
      // Renewal: the last three lines again give a certificate again, and a refusal leaves the good one alone.
      const forbidden = lines.replace(`HOST=${host}`, 'HOST=forbidden.example.org')
      const refused = spawnSync(shell.path, ['-c', forbidden], { cwd: folder.path, encoding: 'utf8' })
      assert.equal(refused.status, 1, 'the lines end with a failure')
      assert.match(
        refused.stdout,
        /forbidden\.example\.org: not in any auth block|no auth block accepts/,
        "and the server's words",
      )
      assert.ok(!existsSync(join(folder.path, 'forbidden.example.org.pem')))
    })
  }
})

test('acmems demo --once, twice at the same time', async (t) => {
  if (!requirePeer(t, 'openssl') || !requirePeer(t, 'curl')) return
  using folder = makeTempFolder('demo')
  const demo = async (name: string) => {
    const dir = join(folder.path, name)
    const { stdout } = await promisify(execFile)(join(checkout, 'acmems'), ['demo', '--once', '--dir', dir])
    return { dir, stdout }
  }
  const runs = await Promise.all([demo('a'), demo('b')])
  for (const { dir, stdout } of runs) {
    assert.match(stdout, /www\.example\.test\.pem: OK/)
    assert.match(stdout, /DNS:www\.example\.test/)
    const chain = join(dir, 'host', 'www.example.test.pem')
    const verified = execFileSync(
      'openssl',
      ['verify', '-CAfile', join(dir, 'ca', 'root.pem'), '-untrusted', chain, chain],
      { encoding: 'utf8' },
    )
    assert.match(verified, /: OK/)
    // What it leaves behind is a configuration that serves.
    assert.match(
      spawnSync(join(checkout, 'acmems'), ['check-config', join(dir, 'acmems.ini')], { encoding: 'utf8' }).stdout,
      /can be used/,
    )
  }
})

test('every command has help with examples', () => {
  for (const command of [
    'serve',
    'accountd',
    'responder',
    'demo',
    'register',
    'acme-register',
    'check-config',
    'init',
    'import',
    'config-reference',
    'dns-records',
    'doctor',
    'enroll',
    'deploy-check',
  ]) {
    const { stdout, status } = spawnSync(join(checkout, 'acmems'), [command, '--help'], { encoding: 'utf8' })
    assert.equal(status, 0)
    assert.match(stdout, new RegExp(`Examples:\\n  acmems ${command}`), command)
  }
  assert.match(spawnSync(join(checkout, 'acmems'), ['--version'], { encoding: 'utf8' }).stdout, /^\d+\.\d+\.\d+\n$/)
})

test('config-reference has every section, and check-config speaks JSON', () => {
  const run = (...args: string[]) => spawnSync(join(checkout, 'acmems'), args, { encoding: 'utf8' })
  const text = run('config-reference').stdout
  for (const { kind } of sectionKinds) assert.ok(text.includes(`[${kind}`), kind)
  assert.ok((JSON.parse(run('config-reference', '--json').stdout) as unknown[]).length >= sectionKinds.length)
  const good = run('check-config', '--json')
  assert.equal((JSON.parse(good.stdout) as { ok: boolean }).ok, true)
  const bad = run('check-config', '--json', '--set', 'mgmt.max-size=huge')
  assert.deepEqual([bad.status, (JSON.parse(bad.stdout) as { ok: boolean }).ok], [1, false])
})

test('no document, and nothing else here, names a place of one machine', () => {
  const tracked = execFileSync('git', ['ls-files'], { cwd: checkout, encoding: 'utf8' }).trim().split('\n')
  const offenders = tracked.filter(
    (file) =>
      existsSync(join(checkout, file)) &&
      /(^|[^\w.-])\/(home|work|Users)\/\w/.test(readFileSync(join(checkout, file), 'utf8')),
  )
  assert.deepEqual(offenders, [])
})
