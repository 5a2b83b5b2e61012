// What configuration files mean: acmems' own dialects, layers, and every mistake that the original died of.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Config } from '../src/config/config.ts'
import { ConfigError } from '../src/config/finding.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { makeTempFolder } from './peers/child.ts'

type Extra = {
  readonly environment?: Record<string, string>
  readonly assignments?: readonly string[]
  readonly lenient?: boolean
}

async function load(texts: string | readonly string[], extra: Extra = {}): Promise<Config> {
  using folder = makeTempFolder('config')
  const files = (typeof texts === 'string' ? [texts] : texts).map((text, index) => {
    const file = join(folder.path, `${index}.ini`)
    writeFileSync(file, text)
    return file
  })
  return await loadConfig({
    files,
    environment: {},
    assignments: [],
    lenient: false,
    plugins: builtinPlugins,
    ...extra,
  })
}

async function mistakes(text: string, extra: Extra = {}): Promise<string> {
  try {
    await load(text, extra)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    return error.message.replaceAll(/\S*\/(\d+\.ini)/g, '$1')
  }
  return assert.fail('the configuration was accepted')
}

const blockOf = (config: Config, name: string) =>
  config.blocks.find((block) => block.name === name) ?? assert.fail(`no block ${name}`)

test("the earliest acmems' dialect", async () => {
  const config = await load(`
[account]
dir = /etc/acmems/account
acme-server = https://acme-staging.api.letsencrypt.org/directory

[listeners]
http=192.0.2.80:1380
http=198.51.100.80:1380
http=[fe80::80%eth0]:1380
mgmt=192.0.2.13:1313

[auth "mail"]
ip=192.0.2.21
ip=198.51.100.21
domain=mail.example.org
domain=mail.example.com

[auth "ext"]
ip=198.51.100.128/28
domain=*.test.example.org

[auth "mail-secure"]
ip=198.51.100.21
key=AAAAB3NzaC1yc2EAAAADAQABAAABAQDc3vh70dvfJ1NyHLxIdaRP2t3qJhRs0Z+gs2WwCBvGbKuXr6WjqjlQpbHRADMSFVc9XVQSqnk4rmlg16t+3UMGCEmP1RpbJW2IHLTh0W8xabP9diSLhdBISxffrulNf1EFBvUaYblNa8svXhqGIh2IU7tz0ES0OeF+Fjj9B/ANWxljp0ntU/ni4/i/Z2iEjAujhyn+TK1dlyGQaUn8C6bxom5LTlHOZcuIgQq2z7ebRAZESdSrp1I/u5tbu9HHa6RWov+xTg9HAsar4WWiNYwEjQmD5AnSdajg2Zv7VUbWM/BklqJ3Ytpkl5SDpGtVOBJZnImGsBcyGjN8FT6+oDB7
domain=mail.example.org
`)
  assert.deepEqual(config.mgmt.listener, ['192.0.2.13:1313'])
  assert.deepEqual(config.verifications.get('http')?.options.listener, [
    '192.0.2.80:1380',
    '198.51.100.80:1380',
    '[fe80::80%eth0]:1380',
  ])
  assert.equal(
    config.issuers.get('default')?.options['acme-server'],
    'https://acme-staging-v02.api.letsencrypt.org/directory',
    "ACME v1's address means today's",
  )
  assert.deepEqual(
    blockOf(config, 'mail').credentials.map(({ name }) => name),
    ['ip'],
  )
  assert.deepEqual(
    blockOf(config, 'mail-secure').credentials.map(({ name }) => name),
    ['ip', 'public-key'],
    'the key is a public key, never a shared secret',
  )
})

test("the later acmems' dialect, with comments behind values", async () => {
  const config = await load(`
[account]
# the CA to talk to
acme-server = https://acme-staging-v02.api.letsencrypt.org/directory
dir = /etc/acmems/account/
accept-terms-of-service = yes # or true

[mgmt]
mgmt=192.0.2.13:1313
# maximal size (in bytes)
max-size = 4k
default-verification = http
default-storage = file

[verification "http"]
type = http01
listener=192.0.2.80:1380
listener=[fe80::80%eth0]:1380

[verification "dns"]
type = dns01-dnsUpdate
dns-server = 192.0.2.53
ttl = 60
timeout = 5

[storage "none"]
type = none

[storage "file"]
type = file
directory = /etc/acmems/storage
renew-within = 14

[auth "mail"]
ip=192.0.2.21
domain=mail.example.org

[auth "mail-secure"]
ip=198.51.100.21
hmac_type=sha256
hmac_key=ohfeimu4aiDie3
verification = dns
storage = file
domain=mail.example.org
`)
  assert.deepEqual(config.issuers.get('default')?.options['accept-terms-of-service'], ['yes'])
  assert.deepEqual(config.mgmt.listener, ['192.0.2.13:1313'])
  assert.equal(config.mgmt['max-size'], 4096)
  assert.equal(config.defaultStorage, 'file', 'acmems fell back to none here')
  assert.equal(config.storages.get('file')?.options['renew-within'], 14 * 24 * 3_600_000)
  assert.deepEqual([blockOf(config, 'mail').verification, blockOf(config, 'mail').storage], ['http', 'file'])
  assert.deepEqual(
    [blockOf(config, 'mail-secure').verification, blockOf(config, 'mail-secure').storage],
    ['dns', 'file'],
  )
})

test("acmems' defaults", async () => {
  const config = await load('')
  assert.deepEqual(config.mgmt.listener, ['127.0.0.1:1313', '[::1]:1313'])
  assert.equal(config.mgmt['max-size'], 4096)
  assert.equal(
    config.issuers.get('default')?.options['acme-server'],
    'https://acme-staging-v02.api.letsencrypt.org/directory',
  )
  assert.equal(config.defaultVerification, 'http')
  assert.deepEqual(config.verifications.get('http')?.options.listener, ['0.0.0.0:1380', '[::]:1380'])
  assert.equal(config.defaultStorage, 'state')
  assert.equal(config.blocks.length, 0)
})

test('sizes: 4k, 16k, 64K, 1m and plain bytes', async () => {
  for (const [text, bytes] of [
    ['4k', 4096],
    ['16k', 16_384],
    ['64K', 65_536],
    ['1m', 1_048_576],
    ['700', 700],
  ] as const) {
    assert.equal((await load(`[mgmt]\nmax-size = ${text}\n`)).mgmt['max-size'], bytes)
  }
  assert.match(await mistakes('[mgmt]\nmax-size = 0\n'), /0\.ini:2: max-size: .*between 1 byte/)
})

test('empty values: no listener, no default verification', async () => {
  const config = await load('[mgmt]\nlistener =\ndefault-verification =\n')
  assert.deepEqual([config.mgmt.listener, config.defaultVerification], [[], undefined])
  const text = '[mgmt]\ndefault-verification =\n[auth "a"]\nip = 127.0.0.1\ndomain = a.example\n'
  assert.match(await mistakes(text), /\[auth "a"\] names no verification, and the default is disabled/)
})

test('a single verification or storage is the default whatever its name', async () => {
  const config = await load('[verification "web"]\ntype = http01\n[storage "disk"]\ntype = file\ndirectory = /x\n')
  assert.deepEqual([config.defaultVerification, config.defaultStorage], ['web', 'disk'])
})

test('quotes, equals signs, comments, CRLF and a byte order mark', async () => {
  const config = await load(
    '\uFEFF[auth "a"] ; note\r\nip=127.0.0.1 ; here\r\nhmac_type=sha256\r\nhmac_key="a # b = \\"c\\""\r\ndomain=a.example\r\n# no equals sign\r\n',
  )
  assert.equal(blockOf(config, 'a').credentials.find(({ name }) => name === 'hmac')?.options.hmac_key, 'a # b = "c"')
})

const wrong: readonly (readonly [what: string, text: string, says: RegExp])[] = [
  ['a line without =', '[mgmt]\nlistener\n', /0\.ini:2: cannot read "listener"/],
  ['a key before any section', 'dir = x\n', /0\.ini:1: "dir" \(x\) stands before any \[section\]/],
  ['an unknown section', '[mgnt]\n', /0\.ini:1: unknown section \[mgnt\]; did you mean mgmt\?/],
  [
    'an unknown key',
    '[mgmt]\nmaxsize = 4k\n',
    /0\.ini:2: \[mgmt\] has no key maxsize \("4k"\); did you mean max-size\?/,
  ],
  [
    'an unknown key in a block (the original then dropped the rest)',
    '[auth "a"]\ndomain = *.corp.example\nipp = 1\nip = 10.0.0.0/8\n',
    /0\.ini:3: \[auth "a"\] has no key ipp/,
  ],
  ['a block that names nobody', '[auth "a"]\ndomain = a.example\n', /0\.ini:1: \[auth "a"\] names nobody/],
  ['all = no is nobody too', '[auth "a"]\nall = no\ndomain = a.example\n', /names nobody/],
  [
    'hmac without a key',
    '[auth "a"]\nhmac_type = sha256\ndomain = a.example\n',
    /hmac_type and hmac_key belong together/,
  ],
  ['hmac without a type', '[auth "a"]\nhmac_key = x\ndomain = a.example\n', /hmac_type and hmac_key belong together/],
  [
    'an unknown digest',
    '[auth "a"]\nhmac_type = md5\nhmac_key = x\ndomain = a.example\n',
    /0\.ini:2: hmac_type: "md5" is no digest/,
  ],
  [
    'host bits',
    '[auth "a"]\nip = 10.0.0.1/8\ndomain = a.example\n',
    /0\.ini:2: ip: 10\.0\.0\.1\/8 has bits set beyond its prefix; did you mean 10\.0\.0\.0\/8\?/,
  ],
  ['IPv6 host bits', '[auth "a"]\nip = 2001:db8::1/32\ndomain = a.example\n', /did you mean 2001:db8::\/32\?/],
  ['a host name as address', '[auth "a"]\nip = www.example.org\ndomain = a.example\n', /host names are not looked up/],
  ['a listener without host', '[mgmt]\nlistener = :1313\n', /0\.ini:2: listener: ":1313" is no listener/],
  ['a path as listener', '[mgmt]\nlistener = /run/x\n', /unix socket/],
  ['a path as http01 listener', '[verification "h"]\ntype = http01\nlistener = /run/x\n', /unix socket/],
  [
    'an unknown default verification',
    '[mgmt]\ndefault-verification = htp\n',
    /there is no \[verification "htp"\]; did you mean http\?/,
  ],
  ['an unknown default storage', '[mgmt]\ndefault-storage = disk\n', /there is no \[storage "disk"\]/],
  [
    'an unknown verification in a block',
    '[auth "a"]\nip = 127.0.0.1\ndomain = a.example\nverification = x\n',
    /0\.ini:4: there is no \[verification "x"\]/,
  ],
  [
    'a verification without type',
    '[verification "x"]\nlistener = 1.2.3.4:5\n',
    /\[verification "x"\] must name its type/,
  ],
  ['an unknown type', '[verification "x"]\ntype = http1\n', /did you mean http01\?/],
  ['an option on none', '[storage "n"]\ntype = none\ndirectory = /x\n', /\[storage "n"\] has no key directory/],
  ['a file storage without directory', '[storage "f"]\ntype = file\n', /needs directory/],
  [
    'the CA named twice',
    '[account]\nacme-server = https://a.example/\nacme-server = https://b.example/\n',
    /acme-server is given twice: "https:\/\/a\.example\/" and "https:\/\/b\.example\/"/,
  ],
  [
    'a section twice',
    '[mgmt]\nmax-size = 1k\n[mgmt]\nmax-size = 2k\n',
    /0\.ini:3: \[mgmt\] stands already at .*0\.ini:1/,
  ],
  ['a CA without TLS', '[account]\nacme-server = http://ca.example/\n', /https:\/\//],
  ['half an external account binding', '[account]\neab-kid = x\n', /belong together/],
  [
    'a secret from nowhere',
    `[auth "a"]\nhmac_type = sha256\nhmac_key = \${ENV:NOT_THERE}\ndomain = a.example\n`,
    /the environment has no NOT_THERE/,
  ],
  ['a pattern that is none', '[auth "a"]\nip = 127.0.0.1\ndomain = a..example\n', /empty label/],
]

for (const [what, text, says] of wrong) {
  test(`wrong: ${what}`, async () => {
    assert.match(await mistakes(text), says)
  })
}

test('every mistake is told at once, and only once', async () => {
  const lines = (await mistakes('[mgmt]\nmaxsize = 4k\n[auth "a"]\nip = nonsense\n[what]\n')).split('\n')
  assert.equal(lines.length, 4, lines.join('\n'))
  assert.equal(new Set(lines).size, lines.length)
})

test('--lenient makes unknown sections and keys warnings, and nothing else', async () => {
  const config = await load('[mgnt]\nx = 1\n[mgmt]\nmaxsize = 4k\n', { lenient: true })
  assert.deepEqual(
    config.warnings.map(({ severity }) => severity),
    ['warning', 'warning'],
  )
  await assert.rejects(load('[auth "a"]\ndomain = a.example\n', { lenient: true }), ConfigError)
})

test('defaults < files < environment < flags', async () => {
  const files = [
    '[mgmt]\nmax-size = 1k\nlistener = 127.0.0.1:1\nlistener = 127.0.0.1:2\n',
    '[mgmt]\nlistener = 127.0.0.1:3\n',
  ]
  assert.deepEqual((await load(files)).mgmt.listener, ['127.0.0.1:3'], 'a later file replaces what it names')
  assert.equal((await load(files)).mgmt['max-size'], 1024, 'and nothing else')
  const environment = { ACMEMS_MGMT_LISTENER: '127.0.0.1:4 127.0.0.1:5', ACMEMS_MGMT_MAX_SIZE: '2k', HOME: '/x' }
  const fromEnvironment = await load(files, { environment })
  assert.deepEqual(
    [fromEnvironment.mgmt.listener, fromEnvironment.mgmt['max-size']],
    [['127.0.0.1:4', '127.0.0.1:5'], 2048],
  )
  const fromFlags = await load(files, {
    environment,
    assignments: ['mgmt.max-size=3k', 'mgmt.listener=127.0.0.1:6', 'mgmt.listener=127.0.0.1:7'],
  })
  assert.deepEqual([fromFlags.mgmt.listener, fromFlags.mgmt['max-size']], [['127.0.0.1:6', '127.0.0.1:7'], 3072])
})

test('several files do not reset what they do not name (acmems went back to staging)', async () => {
  const config = await load([
    '[account]\nacme-server = https://ca.example/dir\n',
    '[auth "a"]\nip = 127.0.0.1\ndomain = a.example\n',
  ])
  assert.equal(config.issuers.get('default')?.options['acme-server'], 'https://ca.example/dir')
})

test('named sections in the environment and in flags', async () => {
  const text = '[auth "mail-1"]\nip = 127.0.0.1\ndomain = a.example\n'
  const config = await load(text, {
    environment: {
      ACMEMS_AUTH__MAIL_1__DOMAIN: 'b.example c.example',
      ACMEMS_AUTH__NEW__IP: '10.0.0.0/8',
      ACMEMS_AUTH__NEW__DOMAIN: 'd.example',
    },
    assignments: ['auth."new".hmac_type=sha256', 'auth.new.hmac_key=secret'],
  })
  assert.deepEqual(
    blockOf(config, 'mail-1').values.domain.map(({ text: pattern }) => pattern),
    ['b.example', 'c.example'],
  )
  assert.deepEqual(
    blockOf(config, 'new').credentials.map(({ name }) => name),
    ['ip', 'hmac'],
  )
  assert.match(
    await mistakes(text, { environment: { ACMEMS_MGMT_LISTENR: 'x' } }),
    /environment ACMEMS_MGMT_LISTENR: no section and key/,
  )
  assert.match(await mistakes(text, { assignments: ['nonsense'] }), /--set nonsense: cannot be read/)
})

test('secrets from files and from the environment', async () => {
  using folder = makeTempFolder('secret')
  const file = join(folder.path, 'key')
  writeFileSync(file, 'from a file\n')
  const keyOf = (config: Config) => blockOf(config, 'a').credentials[0]?.options.hmac_key
  const text = (line: string) => `[auth "a"]\nhmac_type = sha256\n${line}\ndomain = a.example\n`
  assert.equal(keyOf(await load(text(`hmac_key-file = ${file}`))), 'from a file')
  assert.equal(
    keyOf(await load(text(`hmac_key = \${ENV:HMAC}`), { environment: { HMAC: 'from outside' } })),
    'from outside',
  )
})

test('no secret is ever shown', async () => {
  const text = '[auth "a"]\nhmac_type = sha256\nhmac_key = tops3cret\nhmac_key = tops3cret2\ndomain = a.example\n'
  assert.doesNotMatch(await mistakes(text), /tops3cret/)
})
