// The whole way of a host into a server with TLS: a token, the shell agent, a certificate, and out again; and hosts that
// are known by their client certificate.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { startAcmems } from './acmems.ts'
import { makeAgentHost, shells } from './agent-world.ts'
import { runCommand, runJson } from './command.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { makeTlsIdentity } from './peers/tls-identity.ts'

const run = promisify(execFile)

async function startWithTls(folder: string, blocks: string) {
  const { certificateFile, keyFile, caFile } = await makeTlsIdentity(folder)
  const tls = `tls-certificate = ${certificateFile}\ntls-key = ${keyFile}\n`
  return {
    acmems: await startAcmems(`[account]\ntype = local\n[mgmt]\ndefault-verification =\n${tls}${blocks}`),
    caFile,
  }
}

test('the line that acmems enroll prints makes a host one of ours, until it is revoked', async (t) => {
  using folder = makeTempFolder('tls')
  const started = await startWithTls(folder.path, '[auth "fleet"]\nenroll = yes\ndomain = *.fleet.example.org\n')
  await using acmems = started.acmems
  for (const shell of shells) {
    await t.test(shell, async (shellTest) => {
      const url = `https://127.0.0.1:${acmems.mgmtPort}`
      using host = makeAgentHost(shellTest, shell, url)
      if (host === undefined) return
      const { out } = await runCommand(['enroll', 'fleet', '--label', shell, acmems.configFile])
      const [line = ''] = out.split('\n')
      assert.match(line, new RegExp(`^sh agent.sh enroll --server ${url} --token \\S{43} --pin sha256//\\S{44}$`))
      host.configure({ pin: line.split(' ').at(-1) ?? '', name: `${shell}.fleet.example.org` })
      const words = line.split(' ').slice(2)
      for (let i = 0; i < 2; i++) {
        const enrolled = await host.run(...words)
        assert.equal(enrolled.code, 0, enrolled.stderr)
      }
      const renewed = await host.run('renew')
      assert.equal(renewed.code, 0, renewed.stderr)
      assert.equal(host.certificate()?.subjectAltName, `DNS:${shell}.fleet.example.org`)
      const { keys } = await runJson<{ keys: { keyId: string; label: string }[] }>([
        'enroll',
        'list',
        acmems.configFile,
      ])
      const keyId = keys.find(({ label }) => label === shell)?.keyId ?? ''
      assert.equal((await runCommand(['enroll', 'revoke', '--', keyId, acmems.configFile])).code, 0)
      const refused = await host.run('renew', '--force')
      assert.equal(refused.code, 3, refused.stderr)
      assert.equal(host.certificate()?.subjectAltName, `DNS:${shell}.fleet.example.org`, 'the good one stays')
    })
  }
  assert.ok(!acmems.log().includes('"level":"error"'), acmems.log())
})

test('a client certificate at a server with TLS, and signed lines over TLS', async (t) => {
  if (!requirePeer(t, 'curl') || !requirePeer(t, 'openssl')) return
  using folder = makeTempFolder('mtls')
  const cwd = folder.path
  for (const name of ['agent', 'other'])
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`],
      ...['-keyout', join(cwd, `${name}.key`), '-out', join(cwd, `${name}.crt`), '-days', '1'],
    ])
  await run('openssl', ['pkey', '-in', join(cwd, 'agent.key'), '-pubout', '-out', join(cwd, 'agent.pub')])
  const { stdout: pin } = await run('sh', ['-c', readSnippet('docs/request-signatures.md', 'pin line')], { cwd })
  const blocks = `[auth "pinned"]\nclient-certificate = sha256//${pin.trim()}\ndomain = *.pinned.example.org
[auth "signed"]\npublic-key = ${join(cwd, 'agent.pub')}\ndomain = *.signed.example.org\n`
  const { acmems: server, caFile } = await startWithTls(cwd, blocks)
  await using acmems = server
  writeFileSync(join(cwd, 'pinned.csr'), makeCsr({ names: ['www.pinned.example.org'] }))
  writeFileSync(join(cwd, 'signed.csr'), makeCsr({ names: ['www.signed.example.org'] }))
  const url = `https://127.0.0.1:${acmems.mgmtPort}/sign`
  const post = (name: string, more: string[]) =>
    run('curl', ['-sS', '-w', '\n%{http_code}', '--cacert', caFile, '--data-binary', `@${name}.csr`, ...more, url], {
      cwd,
    })
  const using = (name: string) => ['--cert', `${name}.crt`, '--key', `${name}.key`]
  const issued = await post('pinned', using('agent'))
  assert.deepEqual(namesOf(certificatesOf(issued.stdout)[0]), ['DNS:www.pinned.example.org'])
  // Without it, or with another, a signature is the only other way in.
  for (const more of [[], using('other')])
    assert.match((await post('pinned', more)).stdout, /must be signed.*\n\n401$/s)
  assert.match(
    (await post('signed', using('agent'))).stdout,
    /www\.signed\.example\.org: not in any auth block.*\n\n403$/s,
  )

  const lines = readSnippet('docs/request-signatures.md', 'rsa lines').replaceAll(
    'curl -sS',
    `curl -sS --cacert ${caFile}`,
  )
  const env = { ...process.env, HUB: `127.0.0.1:${acmems.mgmtPort}`, CSR: 'signed.csr', KEYID: 'signed' }
  const { stdout } = await run('sh', ['-c', lines], { cwd, env })
  assert.deepEqual(namesOf(certificatesOf(stdout)[0]), ['DNS:www.signed.example.org'])
})
