// The package as it would be published: packed, installed into an empty folder, and used from there.
import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import packageJson from '../package.json' with { type: 'json' }
import { buildRelease } from '../scripts/build.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const checkout = resolve(import.meta.dirname, '..')
const run = promisify(execFile)
const startTimeoutMs = 20_000
// So that `env node` in a launcher's first line finds the Node.js that runs the tests.
const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}` }

async function npm(...args: string[]): Promise<string> {
  const { stdout } = await run('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], { cwd: checkout, env })
  return stdout
}

test('the published package', async (t) => {
  using temp = makeTempFolder('package')
  await buildRelease({ outdir: join(checkout, 'dist'), declarations: true })
  await npm('pack', '--ignore-scripts', '--pack-destination', temp.path)
  const tarball = join(temp.path, readdirSync(temp.path).find((file) => file.endsWith('.tgz')) ?? '')

  await t.test('holds what it needs and nothing of this machine', async () => {
    execFileSync('tar', ['-xzf', tarball, '-C', temp.path])
    const registryHost = new URL((await npm('config', 'get', 'registry')).trim()).host
    const files = readdirSync(join(temp.path, 'package'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
    const names = files.map((file) => file.slice(join(temp.path, 'package/').length))
    const foreign = /^(?!(agent|bin|dist|docs|examples)\/|(package\.json|README\.md|LICENSE|CHANGELOG\.md)$)/
    assert.deepEqual(
      names.filter((name) => foreign.test(name)),
      [],
    )
    for (const name of [
      'agent/agent.sh',
      'bin/acmems.cjs',
      'bin/acme-register.cjs',
      'bin/acmems-install.cjs',
      'dist/acmems.js',
      'dist/THIRD-PARTY.txt',
      'LICENSE',
    ])
      assert.ok(names.includes(name), `${name} is missing`)
    for (const file of files) {
      const text = readFileSync(file, 'latin1')
      assert.ok(!text.includes(`${checkout}/`), `${file} names the checkout`)
      assert.ok(!text.includes(registryHost), `${file} names the registry`)
    }
  })

  const folder = join(temp.path, 'installed')
  mkdirSync(folder)
  const bin = join(folder, 'node_modules/.bin')
  await t.test('installs with no other package, without any network', async () => {
    await npm('install', '--prefix', folder, '--omit=optional', '--offline', tarball)
    assert.deepEqual(
      readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.')),
      ['acmems'],
    )
  })

  await t.test('says its version, explains a configuration, is called acme-register too', async () => {
    const config = writeConfig(folder, 1)
    assert.equal((await run(join(bin, 'acmems'), ['--version'], { env })).stdout, `${packageJson.version}\n`)
    const { stdout } = await run(join(bin, 'acmems'), ['check-config', config], { env })
    assert.match(stdout, /the configuration can be used/)
    assert.match((await run(join(bin, 'acme-register'), ['--help'], { env })).stdout, /acme-register \[options\]/)
  })

  await t.test('serves hosts and ends with 0 when told to', async (t) => {
    if (!requirePeer(t, 'openssl')) return
    await serveOnce(folder, process.execPath)
  })

  await t.test('has types for authors of plugins', async () => {
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(folder, 'plugin.ts'), pluginSource)
    const tsc = join(checkout, 'node_modules/typescript/bin/tsc')
    const types = ['--types', 'node', '--typeRoots', join(checkout, 'node_modules/@types')]
    const flags = ['--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024']
    await run(process.execPath, [tsc, ...flags, '--exactOptionalPropertyTypes', ...types, 'plugin.ts'], { cwd: folder })
  })

  await t.test('brings its own Node.js where the one there is too old', async (t) => {
    const old = findOldNode()
    if (old === undefined) return t.skip('no Node.js older than 24 is on this machine')
    if (!(await installRuntime(t, folder, tarball))) return
    const { stdout } = await run(old, [join(folder, 'node_modules/acmems/bin/acmems.cjs'), '--version'])
    assert.equal(stdout, `${packageJson.version}\n`)
    if (requirePeer(t, 'openssl')) await serveOnce(folder, old)
  })

  await t.test('says what is missing when there is no Node.js that can run it', async (t) => {
    const old = findOldNode()
    if (old === undefined) return t.skip('no Node.js older than 24 is on this machine')
    const unpacked = join(temp.path, 'package/bin/acmems.cjs')
    const { status, stderr } = spawnSync(old, [unpacked, '--version'], { encoding: 'utf8' })
    assert.equal(status, 1)
    assert.match(stderr, /^acmems: Node\.js 24 or newer is needed, this is [\d.]+, and the optional package node-/)
  })
})

/** The registry is asked for one package here; a machine that cannot reach it has said all it can. */
async function installRuntime(t: TestContext, folder: string, tarball: string): Promise<boolean> {
  const failure = await npm('install', '--prefix', folder, tarball).catch((error: Error) => error)
  const isThere = existsSync(join(folder, 'node_modules', `node-${process.platform}-${process.arch}`))
  if (failure instanceof Error || !isThere) t.skip('the registry with the optional Node.js package cannot be had')
  return !(failure instanceof Error) && isThere
}

function findOldNode(): string | undefined {
  const folders = ['/usr/bin', '/usr/local/bin', ...(process.env.PATH ?? '').split(delimiter)]
  return folders
    .map((folder) => join(folder, 'node'))
    .find((node) => {
      const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' })
      const major = Number(/^v(\d+)\./.exec(stdout ?? '')?.[1] ?? 0)
      return major >= 12 && major < 24
    })
}

function writeConfig(folder: string, port: number): string {
  const file = join(folder, 'acmems.ini')
  const state = join(folder, 'state', 'state.db')
  writeFileSync(
    file,
    `[state]\nurl = sqlite:${state}\n[mgmt]\nlistener = 127.0.0.1:${port}\n[issuer "lab"]\ntype = local
[auth "all of it"]\nip = 127.0.0.1\ndomain = **.example.test\nissuer = lab\n`,
  )
  return file
}

/** Started by its launcher, asked for a certificate, told to end. */
async function serveOnce(folder: string, node: string): Promise<void> {
  const port = await freePort()
  const launcher = join(folder, 'node_modules/acmems/bin/acmems.cjs')
  const child = spawn(node, [launcher, 'serve', writeConfig(folder, port)], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += String(chunk)))
  const ended = new Promise<unknown>((settle) => child.once('exit', (code, signal) => settle(code ?? signal)))
  try {
    const deadlineMs = performance.now() + startTimeoutMs
    while (!output.includes('"msg":"serving"')) {
      assert.ok(performance.now() < deadlineMs && child.exitCode === null, `it does not serve:\n${output}`)
      await sleep(20)
    }
    const reply = await postCsr(`http://127.0.0.1:${port}/sign`, makeCsr({ names: ['packed.example.test'] }))
    assert.equal(reply.status, 200, reply.text + output)
    const [leaf, issuer] = certificatesOf(reply.text)
    assert.deepEqual(namesOf(leaf), ['DNS:packed.example.test'])
    assert.ok(issuer !== undefined && leaf?.checkIssued(issuer))
    const script = await (await fetch(`http://127.0.0.1:${port}/agent.sh`)).text()
    assert.equal(script, readFileSync(join(checkout, 'agent/agent.sh'), 'utf8'))
    child.kill('SIGTERM')
    assert.equal(await Promise.race([ended, sleep(startTimeoutMs, 'nothing', { ref: false })]), 0, output)
    assert.doesNotMatch(output, /Warning/)
  } finally {
    // A launcher that had to start a child passes this on to it only when it is told kindly.
    child.kill('SIGTERM')
    await Promise.race([ended, sleep(2000, undefined, { ref: false })])
    child.kill('SIGKILL')
  }
}

const pluginSource = `import type { Notifier, Plugin, PluginSetup } from 'acmems/plugin-api'

const options = {
  url: { meaning: 'where to', type: 'URL', required: true, parse: (text: string) => new URL(text).href },
  tries: { meaning: 'how often', type: 'count', parse: Number },
} as const

export const plugin: Plugin<'notifier', typeof options> = {
  kind: 'notifier',
  name: 'example',
  meaning: 'an example',
  options,
  async create({ url, tries }, setup: PluginSetup): Promise<Notifier> {
    const target: string = url
    const times: number | undefined = tries
    setup.log.debug('made', { target, times })
    return {
      async notify(event, context) {
        if (event.kind === 'certificate.issued') context.log.info('issued', { serial: event.serial })
      },
    }
  },
}
`
