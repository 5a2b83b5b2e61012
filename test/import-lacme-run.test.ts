// From lacme to acmems for real: the account that lacme made, the server's key as it lies there, Pebble as the CA.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

test('what was taken over gets its certificates: the same account, the same key', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble({ authzReuse: 0 })
  using folder = makeTempFolder('from-lacme')
  const at = (name: string) => join(folder.path, name)
  const rsaKey = () =>
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  mkdirSync(at('lacme'))
  mkdirSync(at('ssl'))
  writeFileSync(at('account.key'), rsaKey(), { mode: 0o600 })
  writeFileSync(at('ssl/web.key'), rsaKey(), { mode: 0o600 })
  writeFileSync(at('roots.pem'), await pebble.root(0))
  // The account as lacme made it: known to the CA, and to no file of ours.
  const account = `[account]\nacme-server = ${pebble.directoryUrl}\nca-file = ${pebble.caFile}\n`
  writeFileSync(
    at('before.ini'),
    `${account}key = file:${at('account.key')}\ndir = ${at('before')}\naccept-terms-of-service = yes\n`,
  )
  assert.equal((await runCommand(['register', at('before.ini')])).code, 0)
  const { uri } = JSON.parse(readFileSync(at('before/registration.json'), 'utf8')) as { uri: string }

  writeFileSync(
    at('lacme/lacme.conf'),
    `config-certs = certs.conf
[client]
server = ${pebble.directoryUrl}
command = /usr/bin/env PERL_LWP_SSL_CA_FILE=${pebble.caFile} /usr/libexec/lacme/client
[webserver]
listen = 127.0.0.1:${pebble.httpPort}
[accountd]
`,
  )
  writeFileSync(at('lacme/lacme-accountd.conf'), `privkey = file:${at('account.key')}\n`)
  writeFileSync(
    at('lacme/certs.conf'),
    `CAfile = ${at('roots.pem')}
notify = echo "$ACMEMS_CERTIFICATES" >> ${at('told')}
[web]
certificate-key = ${at('ssl/web.key')}
certificate = ${at('ssl/web.crt')}
certificate-chain = ${at('ssl/web.chain.crt')}
subject = /O=Foo
subjectAltName = DNS:www.example.test,DNS:example.test
mode = 0640
[mail]
certificate-key = ${at('ssl/mail.key')}
certificate-chain = ${at('ssl/mail.pem')}
subject = /CN=mail.example.test
`,
  )
  const keyBefore = execFileSync('openssl', ['pkey', '-in', at('ssl/web.key'), '-pubout'], { encoding: 'utf8' })
  const imported = await runCommand(['import', 'lacme', at('lacme'), '--output', at('acmems.ini')])
  // The wrapper around the client is named, as a command; the file in it is taken over.
  assert.equal(imported.code, 3, imported.err)
  assert.match(imported.err, /2 certificates were taken over; 1 thing left out/)

  const config = readFileSync(at('acmems.ini'), 'utf8').replace(/^dir = .*$/m, `dir = ${at('account')}`)
  await using acmems = await startAcmems(config, { folder: folder.path })
  for (let i = 0; i < 300 && !['told', 'ssl/web.crt', 'ssl/mail.pem'].every((name) => existsSync(at(name))); i++)
    await sleep(100)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })
  assert.equal(openssl('x509', '-in', at('ssl/web.crt'), '-noout', '-pubkey'), keyBefore, acmems.log())
  assert.equal(openssl('pkey', '-in', at('ssl/web.key'), '-pubout'), keyBefore)
  const names = openssl('x509', '-in', at('ssl/web.crt'), '-noout', '-ext', 'subjectAltName')
  assert.match(names, /DNS:www\.example\.test/)
  assert.match(names, /DNS:example\.test/)
  assert.match(
    openssl('verify', '-CAfile', at('roots.pem'), '-untrusted', at('ssl/mail.pem'), at('ssl/mail.pem')),
    /: OK/,
  )
  const registration = JSON.parse(readFileSync(at('account/registration.json'), 'utf8')) as { uri: string }
  assert.equal(registration.uri, uri)
  for (let i = 0; i < 100 && readFileSync(at('told'), 'utf8').split(/\s+/).filter(Boolean).length < 2; i++)
    await sleep(100)
  assert.deepEqual(readFileSync(at('told'), 'utf8').split(/\s+/).filter(Boolean).sort(), ['mail', 'web'])
})
