// The shell agent under three shells, against a real server with TLS.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Acmems, startAcmems } from './acmems.ts'
import { agentScript, makeAgentHost, shells } from './agent-world.ts'
import { namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { makeTlsIdentity, type TlsIdentity } from './peers/tls-identity.ts'

type Server = AsyncDisposable & {
  readonly acmems: Acmems
  readonly url: string
  readonly tls: TlsIdentity
  readonly root: string
}

async function startServer(more = ''): Promise<Server> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('agent-server')).path
  const tls = await makeTlsIdentity(folder)
  const acmems = cleanup.use(
    await startAcmems(
      `[account]\ntype = local\ndir = ${folder}/ca\n[mgmt]\ntls-certificate = ${tls.certificateFile}\ntls-key = ${tls.keyFile}\n[auth "lab"]\nip = 127.0.0.1\ndomain = **.lab.test\nip-address = 192.0.2.0/24\nip-address = 2001:db8::/32\nwildcard = yes\ndomain = *.lab.test\n${more}`,
    ),
  )
  const owned = cleanup.move()
  return {
    acmems,
    tls,
    url: `https://127.0.0.1:${acmems.mgmtPort}`,
    root: join(folder, 'ca', 'root.pem'),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

test('the server gives it out, with its checksum, to everybody', async (t) => {
  if (!requirePeer(t, 'curl')) return
  await using server = await startServer()
  using folder = makeTempFolder('agent-sh')
  const curl = (path: string, ...args: string[]) =>
    execFileSync('curl', ['-sS', '--cacert', server.tls.caFile, ...args, `${server.url}${path}`], {
      cwd: folder.path,
      encoding: 'utf8',
    })
  curl('/agent.sh', '-O')
  curl('/agent.sh.sha256', '-O')
  assert.equal(readFileSync(join(folder.path, 'agent.sh'), 'utf8'), readFileSync(agentScript, 'utf8'))
  assert.equal(
    execFileSync('sha256sum', ['-c', 'agent.sh.sha256'], { cwd: folder.path, encoding: 'utf8' }),
    'agent.sh: OK\n',
  )
  assert.match(curl('/agent.sh', '-I'), /^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: \d{5}/i)
  for (const path of ['/agent.sh?', '/agent.shx', '/agent.sh/', '//agent.sh', '/agent'])
    assert.match(curl(path, '-i'), /^HTTP\/1\.1 404/, path)
  assert.match(curl('/agent.sh', '-i', '-d', 'x'), /^HTTP\/1\.1 404/)
})

for (const shell of shells) {
  test(`${shell}: the first certificate, nothing due, and the next one`, async (t) => {
    await using server = await startServer()
    using host = makeAgentHost(t, shell, server.url)
    if (host === undefined) return
    const facts = join(host.folder, 'facts')
    host.configure({
      cacert: server.tls.caFile,
      name: 'www.lab.test *.lab.test 192.0.2.7 2001:db8::7',
      roots: server.root,
      mode: '640',
      key: join(host.folder, 'single', 'www.key'),
      fullchain: join(host.folder, 'single', 'www.pem'),
      combined: join(host.folder, 'single', 'haproxy.pem'),
      hook: `env | grep ^ACMEMS_ | sort >> ${facts}`,
    })
    const first = await host.run('renew')
    assert.deepEqual([first.code, first.stdout, first.stderr], [0, '', ''], 'silent where all is well')
    assert.ok(lstatSync(host.directory).isSymbolicLink())
    assert.ok(host.isPairWhole())
    assert.deepEqual(namesOf(host.certificate()), [
      'DNS:*.lab.test',
      'DNS:www.lab.test',
      'IP Address:192.0.2.7',
      'IP Address:2001:DB8:0:0:0:0:0:7',
    ])
    assert.equal(statSync(join(host.directory, 'privkey.pem')).mode & 0o777, 0o640)
    assert.equal(statSync(join(host.directory, 'fullchain.pem')).mode & 0o777, 0o644)
    assert.equal(
      readFileSync(join(host.folder, 'single', 'www.pem'), 'utf8'),
      readFileSync(join(host.directory, 'fullchain.pem'), 'utf8'),
    )
    assert.match(
      readFileSync(join(host.folder, 'single', 'haproxy.pem'), 'utf8'),
      /BEGIN CERTIFICATE[\s\S]*BEGIN PRIVATE KEY/,
    )
    const told = readFileSync(facts, 'utf8')
    assert.match(told, /ACMEMS_NAMES=\*\.lab\.test www\.lab\.test 192\.0\.2\.7 2001:db8:/)
    assert.match(told, new RegExp(`ACMEMS_FULLCHAIN=${host.folder}/single/www\\.pem`))
    assert.match(told, new RegExp(`ACMEMS_SERIAL=${host.certificate()?.serialNumber}`))

    const [serial, log] = [host.certificate()?.serialNumber, server.acmems.log().length]
    const second = await host.run()
    assert.deepEqual([second.code, second.stdout, second.stderr], [0, '', ''])
    assert.doesNotMatch(server.acmems.log().slice(log), /"msg":"request"/, 'nobody is asked where nothing is due')
    assert.equal(readFileSync(facts, 'utf8'), told, 'and the hook is not run')

    const third = await host.run('--force', '-v')
    assert.equal(third.code, 0, third.stderr)
    assert.match(third.stderr, /installed: /)
    assert.notEqual(host.certificate()?.serialNumber, serial)
    assert.ok(host.isPairWhole())
    assert.equal(readFileSync(facts, 'utf8').match(/ACMEMS_SERIAL/g)?.length, 2)
    assert.deepEqual(readdirSync(join(host.state, 'www')).sort(), ['how', 'live', 'sets'])
    assert.ok(!existsSync(join(host.state, 'agent.key')), 'who was never enrolled has no key')
    const status = await host.run('status')
    assert.deepEqual([status.code, /until {5}.*\(\d\d days\)/.test(status.stdout)], [0, true], status.stdout)
  })
}

for (const shell of shells) {
  test(`${shell}: a box that the server sealed to this host's key`, async (t) => {
    using folder = makeTempFolder('box')
    const config = join(folder.path, 'printer.conf')
    using host = makeAgentHost(t, shell, 'https://127.0.0.1:1')
    if (host === undefined) return
    // The key comes first: the server's configuration names it.
    host.configure({ box: 'printer', name: 'printer.lab.test' })
    assert.equal((await host.run('key')).code, 0)
    await using server = await startServer(
      `[auth "printer"]\npublic-key = ${host.state}/agent.pub\ndomain = printer.lab.test\n[certificate "printer"]\ndomain = printer.lab.test\nrecipient = ${host.state}/agent.pub\nauth = printer\n`,
    )
    const text = `server = ${server.url}\ncacert = ${server.tls.caFile}\nstate = ${host.state}\ndirectory = ${host.directory}\nname = printer.lab.test\nbox = printer\n`
    writeFileSync(config, text)
    const deadlineMs = performance.now() + 20_000
    let run = await host.run('--force', '--config', config)
    // 503 until its first certificate is there.
    while (run.code === 1 && performance.now() < deadlineMs) run = await host.run('--force', '--config', config)
    assert.equal(run.code, 0, run.stderr + server.acmems.log())
    assert.ok(host.isPairWhole())
    assert.deepEqual(namesOf(host.certificate()), ['DNS:printer.lab.test'])
    assert.match((await host.run('-v', '--config', config)).stderr, /the box is as it was/)
    writeFileSync(config, text.replace('box = printer', 'box = other'))
    const other = await host.run('--config', config)
    assert.deepEqual([other.code, /refused this host \(403\)/.test(other.stderr)], [3, true], other.stderr)
    assert.ok(host.isPairWhole(), 'what is here stays')
  })
}
