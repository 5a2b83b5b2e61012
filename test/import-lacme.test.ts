// `acmems import lacme`: lacme's configuration becomes ours, everything else is named, and what is written loads.
// D1 … D19 are the defects of lacme that a configuration can carry.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Config } from '../src/config/config.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { parseCsr } from '../src/x509/csr.ts'
import { buildCsrDer } from '../src/x509/csr-builder.ts'
import { type Outcome, runCommand } from './command.ts'
import { readSnippet } from './documentation.ts'
import { makeTempFolder } from './peers/child.ts'

const folder = makeTempFolder('lacme')
test.after(() => folder[Symbol.dispose]())
let count = 0

/** A folder like /etc/lacme; `KEY` in a text stands for a folder with keys. */
function lacmeFolder(files: Readonly<Record<string, string>>): { path: string; keys: string } {
  const path = join(folder.path, `lacme-${++count}`)
  const keys = join(path, 'keys')
  mkdirSync(keys, { recursive: true })
  writeKey(join(keys, 'account.key'), 'rsa')
  writeKey(join(keys, 'www.key'), 'rsa')
  writeKey(join(keys, 'mail.key'), 'ec')
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true })
    writeFileSync(join(path, name), text.replaceAll('KEYS', keys))
  }
  return { path, keys }
}

function writeKey(path: string, type: 'rsa' | 'ec'): void {
  const { privateKey } =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-384' })
  writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
}

const main = `[client]
[webserver]
listen = 0.0.0.0:80
[accountd]
`
const accountd = 'privkey = file:KEYS/account.key\n'
const noRoots = 'CAfile =\n'
const www = `[www]
certificate-key = KEYS/www.key
certificate-chain = KEYS/www.pem
subject = /CN=www.example.org
subjectAltName = DNS:www.example.org,DNS:example.org
`

type Imported = Outcome & {
  readonly config: Config
  readonly text: string
  readonly path: string
  readonly keys: string
}

/** Imports it, and loads what was written. */
async function importFrom(files: Readonly<Record<string, string>>): Promise<Imported> {
  const { path, keys } = lacmeFolder({
    'lacme.conf': main,
    'lacme-accountd.conf': accountd,
    'lacme-certs.conf.d/.keep.conf': '',
    ...files,
  })
  const output = join(path, 'acmems.ini')
  const outcome = await runCommand(['import', 'lacme', path, '--output', output])
  assert.ok(existsSync(output), outcome.err)
  const config = await loadConfig({
    files: [output],
    environment: {},
    assignments: [],
    lenient: false,
    plugins: builtinPlugins,
  })
  return { ...outcome, config, text: readFileSync(output, 'utf8'), path, keys }
}

const certs = (text: string) => ({ 'lacme-certs.conf': `${noRoots}${text}` })
const valuesOf = ({ config }: Imported, name: string) =>
  config.certificates.find((certificate) => certificate.name === name)?.values ?? assert.fail(`there is no ${name}`)
const namesOf = (imported: Imported, name: string) => valuesOf(imported, name).domain.map(({ value }) => value)

test('a configuration like those of the manual is taken over whole', async () => {
  const imported = await importFrom({
    'lacme.conf': `# comment
config-certs = lacme-certs.conf more.d/
[client]
server = https://acme-staging-v02.api.letsencrypt.org/directory
[webserver]
listen = 192.0.2.1 , [2001:db8::1]:8080
[accountd]
`,
    'lacme-certs.conf': `hash = sha384
keyUsage = digitalSignature, keyEncipherment
CAfile = KEYS/roots.pem

[www]
certificate-key = KEYS/www.key
certificate = KEYS/www.crt
certificate-chain = KEYS/www.chain.crt
subject = /O=Example \\/ Co/CN=www.example.org
subjectAltName = DNS:www.example.org, DNS:Example.org
min-days = 30
mode = 0640
notify = /bin/systemctl reload nginx # and "more" \\ of it
tlsfeature = status_request
`,
    'more.d/mail.conf': `[mail]
certificate-key = KEYS/mail.key
certificate-chain = KEYS/mail.crt
subject = /CN=mail.example.org
chmod = 444
hash = sha256
`,
    'keys/roots.pem': 'roots',
  })
  assert.deepEqual([imported.code, /: left out:/.test(imported.text)], [0, false], imported.err)
  assert.match(imported.err, /2 certificates were taken over; nothing left out/)
  assert.equal(statSync(join(imported.path, 'acmems.ini')).mode & 0o777, 0o640)
  const [values, mail] = [valuesOf(imported, 'www'), valuesOf(imported, 'mail')]
  assert.deepEqual(namesOf(imported, 'www'), ['www.example.org', 'example.org'])
  assert.deepEqual(
    {
      key: values.key,
      'key-type': values['key-type'],
      'reuse-key': values['reuse-key'],
      certificate: values.certificate,
      fullchain: values.fullchain,
      subject: values.subject,
      'renew-within': values['renew-within'],
      mode: values.mode,
      hook: values.hook,
      'must-staple': values['must-staple'],
      digest: values.digest,
      'key-usage': values['key-usage'].flat(),
      'ca-file': values['ca-file'],
      'key-mode': values['key-mode'],
      owner: values.owner,
    },
    {
      key: `${imported.keys}/www.key`,
      'key-type': 'rsa-2048',
      'reuse-key': true,
      certificate: `${imported.keys}/www.crt`,
      fullchain: `${imported.keys}/www.chain.crt`,
      subject: '/O=Example \\/ Co/CN=www.example.org',
      'renew-within': 30 * 86_400_000,
      mode: 0o640,
      hook: '/bin/systemctl reload nginx # and "more" \\ of it',
      'must-staple': true,
      digest: 'sha384',
      'key-usage': ['digitalSignature', 'keyEncipherment'],
      'ca-file': `${imported.keys}/roots.pem`,
      'key-mode': 0o600,
      owner: undefined,
    },
  )
  assert.deepEqual(
    [mail['key-type'], mail.mode, mail.digest, mail['renew-within'], mail['key-usage'].flat().length],
    ['ec-384', 0o444, 'sha256', undefined, 2],
  )
  assert.deepEqual(imported.config.verifications.get('http')?.options.listener, ['192.0.2.1:80', '[2001:db8::1]:8080'])
  const account = imported.config.issuers.get('default')?.options
  assert.equal(account?.key, `file:${imported.keys}/account.key`)
  assert.equal(account?.['acme-server'], 'https://acme-staging-v02.api.letsencrypt.org/directory')
  assert.deepEqual(imported.config.mgmt.listener, [])
  // Every line tells where it comes from.
  assert.match(imported.text, /hook = .*# .*lacme-certs\.conf:13\n/)
  assert.match(imported.text, /\[certificate "mail"\] {2}# .*more\.d\/mail\.conf:1\n/)
  assert.match(imported.text, /digest = sha384 {2}# .*lacme-certs\.conf:1\n/)
})

test('D1: a subject without a common name gives the names of subjectAltName, and no other', async () => {
  for (const subject of ['/', '/O=Foo', '/CN=www.example.org/O=Foo', '/OU=x+CN=www.example.org']) {
    const imported = await importFrom(certs(www.replace('/CN=www.example.org', subject)))
    assert.deepEqual([...namesOf(imported, 'www')].sort(), ['example.org', 'www.example.org'], subject)
    assert.equal(imported.code, 0, imported.err)
    // The request can be made, and says nothing else.
    const values = valuesOf(imported, 'www')
    const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const der = buildCsrDer({ key, identifiers: values.domain, ...(values.subject && { subject: values.subject }) })
    assert.deepEqual(
      parseCsr(der)
        .identifiers.map(({ value }) => value)
        .sort(),
      ['example.org', 'www.example.org'],
    )
  }
})

test('D2: keyid is named: it protects nothing', async () => {
  const imported = await importFrom({
    ...certs(www.replace('KEYS', 'KEYS')),
    'lacme-accountd.conf': `${accountd}keyid = https://ca.example/acct/1\nlogfile = /var/log/x\n`,
  })
  assert.equal(imported.code, 3)
  assert.match(imported.err, /lacme-accountd\.conf:2: left out: keyid/)
  assert.match(imported.err, /lacme-accountd\.conf:3: left out: lacme-accountd's logfile/)
})

test('D10: one bad owner, one unknown key, one broken line or file stops nothing else', async () => {
  const imported = await importFrom({
    ...certs(`${www}owner = nobody at all\n[bad]\ncolour = blue\nthis is no line\n${www.replace('[www]', '')}`),
    'lacme.conf': `config-certs = missing.conf lacme-certs.conf %X/y\nother = 1\n${main}[surprise]\na = b\n`,
  })
  assert.equal(imported.code, 3)
  for (const said of [
    /lacme\.conf:1: left out: config-certs: missing\.conf: .*ENOENT/,
    /lacme\.conf:1: left out: config-certs: %X\/y: %X in/,
    /lacme\.conf:2: left out: other in the default section/,
    /lacme\.conf:7: left out: \[surprise\]/,
    /lacme-certs\.conf:7: left out: \[www\] owner = nobody at all: .*no user or user:group/,
    /lacme-certs\.conf:9: left out: colour in \[bad\]/,
    /lacme-certs\.conf:10: left out: the line "this is no line"/,
  ]) {
    assert.match(imported.err, said)
  }
  // Its key and files are those of www: it is there as a comment.
  assert.deepEqual(
    imported.config.certificates.map(({ name }) => name),
    ['bad'],
  )
  assert.match(imported.text, /^# \[certificate "www"\]/m)
  assert.match(imported.err, /\[www\], the whole section: .*www\.pem is bad's already/)
})

test('D15: addresses are taken over, wildcards are named, and none is left in the request', async () => {
  const imported = await importFrom(
    certs(
      www.replace('DNS:example.org', 'DNS:*.example.org, IP:192.0.2.1, IP:2001:DB8::1,email:a@example.org,DNS:a_b.c'),
    ),
  )
  assert.equal(imported.code, 3)
  assert.deepEqual(namesOf(imported, 'www'), ['www.example.org'])
  assert.deepEqual(
    valuesOf(imported, 'www')['ip-address'].map(({ value }) => value),
    ['192.0.2.1', '2001:db8::1'],
  )
  assert.match(imported.err, /\[www\] DNS:\*\.example\.org in subjectAltName: a wildcard is proven by DNS only/)
  assert.match(imported.err, /email:a@example\.org in subjectAltName: only DNS and IP/)
  assert.match(imported.err, /DNS:a_b\.c in subjectAltName: .*not a usable name/)
  assert.match(imported.err, /3 things left out/)
})

test('D16: a common name alone is a name of the certificate', async () => {
  const imported = await importFrom(certs(www.replace(/subjectAltName.*\n/, '')))
  assert.deepEqual([imported.code, namesOf(imported, 'www')], [0, ['www.example.org']])
})

test('a common name that is no name of a machine does not go into the request', async () => {
  const imported = await importFrom(certs(www.replace('/CN=www', '/O=Foo/CN=My Server')))
  assert.equal(imported.code, 3)
  assert.equal(valuesOf(imported, 'www').subject, '/O=Foo')
  assert.match(imported.err, /CN=My Server\.example\.org in the subject: it cannot be a name/)
})

test('D18: loose modes of keys are named', async () => {
  const { path, keys } = lacmeFolder({ 'lacme.conf': main, 'lacme-accountd.conf': accountd, ...certs(www) })
  mkdirSync(join(path, 'lacme-certs.conf.d'))
  chmodSync(join(keys, 'account.key'), 0o644)
  chmodSync(join(keys, 'www.key'), 0o644)
  const { code, out, err } = await runCommand(['import', 'lacme', join(path, 'lacme.conf')])
  assert.equal(code, 0, err)
  assert.match(err, /lacme-accountd\.conf:1: note: .*account\.key can be read by others: chmod 600/)
  assert.match(err, /note: .*www\.key can be read by everybody/)
  // What reads it now reads it afterwards.
  assert.match(out, /key-mode = 0644/)
})

test("D19: defaults of one file in a later file are written out, and named; the file's own win", async () => {
  const imported = await importFrom({
    'lacme-certs.conf': `${noRoots}notify = reload-a\nmin-days = 5\n${www}`,
    'lacme-certs.conf.d/10-mail.conf': `min-days = 9
[mail]
certificate-key = KEYS/mail.key
certificate = KEYS/mail.crt
subject = /CN=mail.example.org
[own]
notify = own
certificate-key = KEYS/own.key
certificate = KEYS/own.crt
subject = /CN=own.example.org
`,
    'lacme-certs.conf.d/README': 'not read',
    'lacme-certs.conf.d/20-again.conf': `[own]\ncertificate-key = KEYS/own.key\ncertificate = KEYS/own.crt\nsubject = /CN=again.example.org\n`,
  })
  assert.equal(imported.code, 0, imported.err)
  const mail = valuesOf(imported, 'mail')
  assert.deepEqual([mail.hook, mail['renew-within']], ['reload-a', 9 * 86_400_000])
  assert.match(
    imported.err,
    /10-mail\.conf:2: note: \[mail\] has notify = reload-a from another file, .*lacme-certs\.conf:2/,
  )
  assert.doesNotMatch(imported.err, /\[mail\] has min-days/)
  // A section of the same name takes the place of the former, with today's defaults.
  const own = valuesOf(imported, 'own')
  assert.deepEqual(
    [namesOf(imported, 'own'), own.hook, own['renew-within']],
    [['again.example.org'], 'reload-a', 9 * 86_400_000],
  )
  assert.match(imported.err, /10-mail\.conf:6: note: \[own\]: .*20-again\.conf:1 takes its place/)
  assert.match(imported.err, /README: note: the file: lacme reads only \*\.conf/)
  // There is no own.key: one is made.
  assert.match(imported.err, /own\.key: it is not there, so a key is made/)
})

test('what is about the processes of lacme, its network and its TLS is named', async () => {
  const imported = await importFrom({
    ...certs(www),
    'lacme.conf': `[client]
user = _lacme-client
timeout = 60
SSL_verify = No
SSL_cipher_list = HIGH
command = /usr/bin/env PERL_LWP_SSL_CA_FILE=/etc/ssl/ca.pem /usr/libexec/lacme/client
[webserver]
listen = /run/lacme-www.socket [::]:81 nowhere
group = nogroup
iptables = yes
[accountd]
user = nobody
`,
  })
  assert.equal(imported.code, 3)
  for (const [line, what] of [
    [2, '[client] user = _lacme-client'],
    [3, 'timeout = 60'],
    [4, 'SSL_verify = no'],
    [5, 'SSL_cipher_list = HIGH'],
    [6, '[client] command'],
    [8, 'listen = /run/lacme-www.socket'],
    [8, 'listen = nowhere'],
    [9, '[webserver] group = nogroup'],
    [10, 'iptables = Yes'],
    [12, '[accountd] user = nobody'],
  ] as const) {
    assert.ok(imported.err.includes(`lacme.conf:${line}: left out: ${what}`), `${what} in ${imported.err}`)
  }
  assert.deepEqual(imported.config.verifications.get('http')?.options.listener, [
    '127.0.0.1:1380',
    '[::]:81',
    '0.0.0.0:81',
  ])
  assert.equal(imported.config.issuers.get('default')?.options['ca-file'], '/etc/ssl/ca.pem')
})

test('a challenge directory: as a document root, or named', async () => {
  for (const [given, taken, code] of [
    ['/var/www/html/.well-known/acme-challenge/', '/var/www/html/.well-known/acme-challenge', 0],
    ['/var/www/acme-challenge', '/var/www/acme-challenge', 3],
  ] as const) {
    const imported = await importFrom({
      ...certs(www),
      'lacme.conf': `[webserver]\nlisten = 0.0.0.0:80\nchallenge-directory = ${given}\n[accountd]\n`,
    })
    assert.deepEqual([imported.code, imported.config.verifications.get('http')?.options.directory], [code, taken])
    if (code === 3) assert.match(imported.err, /lacme\.conf:3: left out: .*nginx: root \/var\/www\/acme-challenge;/)
  }
})

test('an account key behind a socket or ssh stays there', async () => {
  for (const [main, key, said] of [
    [
      '[client]\nsocket = /run/x/S\n',
      'accountd:/run/x/S',
      /lacme\.conf:2: note: the account key stays with the lacme-/,
    ],
    [
      '[client]\ntimeout = 5\n',
      /^accountd:\/.*\/?S\.lacme$/,
      /lacme\.conf: note: the account key stays with the lacme-/,
    ],
    [
      '[accountd]\ncommand = ssh  -T a@b /usr/bin/%%-accountd\nconfig = %h/a.conf\n',
      'exec:ssh -T a@b /usr/bin/%-accountd --stdio --config=%h/a.conf --quiet',
      /lacme\.conf:2: note: the account key stays on another machine/,
    ],
  ] as const) {
    // The usual place is the user's own, which not every session has.
    if (typeof key !== 'string' && process.getuid?.() !== 0) continue
    const imported = await importFrom({ ...certs(www), 'lacme.conf': main })
    assert.match(imported.err, said)
    const found = String(imported.config.issuers.get('default')?.options.key)
    if (typeof key === 'string') assert.equal(found, key)
    else assert.match(found, key)
    assert.doesNotMatch(imported.err, /left out: \[client\] socket/)
  }
})

test('an account key that is locked or encrypted is named, and no account is made instead', async () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const locked = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' })
  for (const [files, said] of [
    [
      { 'lacme-accountd.conf': 'privkey = gpg:/a.gpg\n' },
      /accountd\.conf:1: left out: .*gpg --output KEYFILE --decrypt \/a\.gpg/,
    ],
    [{ 'lacme-accountd.conf': 'privkey = file:KEYS/locked\n', 'keys/locked': String(locked) }, /locked by a password/],
    [{ 'lacme-accountd.conf': 'privkey = file:KEYS/none\n' }, /left out: privkey = .*ENOENT/],
    [{ 'lacme-accountd.conf': 'privkey = pkcs11:foo\n' }, /lacme-accountd does not know it either/],
    [{ 'lacme-accountd.conf': '' }, /the account key, as no privkey is there/],
  ] as const) {
    const imported = await importFrom({ ...certs(www), ...(files as Record<string, string>) })
    assert.equal(imported.code, 3)
    assert.match(imported.err, said)
    const account = imported.config.issuers.get('default')?.options
    assert.deepEqual([account?.key, account?.['accept-terms-of-service']], [undefined, []])
  }
})

test('keys: whose they are, what they are, and what cannot be kept', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root to give files away')
  const { path, keys } = lacmeFolder({
    'lacme.conf': main,
    'lacme-accountd.conf': accountd,
    ...certs(`${www}owner = root:www-data\n[mail]\ncertificate-key = KEYS/mail.key\ncertificate = KEYS/mail.crt
subject = /CN=mail.example.org\n[odd]\ncertificate-key = KEYS/odd.key\ncertificate = KEYS/odd.crt\nsubject = /CN=odd.example.org\nhash = md5
min-days = -1\ntlsfeature = status_request_v2\nmode = 4755\n`),
  })
  mkdirSync(join(path, 'lacme-certs.conf.d'))
  chmodSync(join(keys, 'mail.key'), 0o640)
  chownSync(join(keys, 'mail.key'), 1, 2)
  writeFileSync(
    join(keys, 'odd.key'),
    generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }),
    { mode: 0o600 },
  )
  const { code, out, err } = await runCommand(['import', 'lacme', path, '--json'])
  assert.equal(code, 3)
  const { text, certificates, remarks } = JSON.parse(out) as {
    text: string
    certificates: string[]
    remarks: { kind: string; origin: string; what: string }[]
  }
  assert.deepEqual(certificates, ['mail', 'odd', 'www'])
  // mail: the service goes on reading its key. www: the key is not given to another group.
  assert.match(text, /owner = daemon:bin {2}# as .*mail\.key is\n/)
  assert.match(text, /key-mode = 0640/)
  assert.match(text, /owner = root:root/)
  assert.match(err, /left out: \[www\] owner = root:www-data: key and certificate have one owner/)
  assert.match(err, /keys like this one \(ed25519\) are not kept/)
  assert.deepEqual(
    remarks.filter(({ what }) => what.startsWith('[odd]')).map(({ what }) => what.replace(/ = .*/, '')),
    ['[odd] certificate-key', '[odd] mode', '[odd] hash', '[odd] tlsfeature', '[odd] min-days'],
  )
})

test('odd names of sections, hooks of two sections, comments behind values', async () => {
  const section = (name: string, index: number) => `[${name}]
certificate-key = KEYS/${index}.key
certificate = KEYS/${index}.crt
subject = /CN=n${index}.example.org
notify = reload a ; reload b
`
  const imported = await importFrom(certs(['*.x y', '../up', 'wildcard.x-y', '"'].map(section).join('')))
  assert.deepEqual(imported.config.certificates.map(({ name }) => name).sort(), [
    'certificate',
    'up',
    'wildcard.x-y',
    'wildcard.x-y-2',
  ])
  assert.equal(imported.code, 0)
  assert.equal(valuesOf(imported, 'up').hook, 'reload a')
  assert.match(imported.err, /note: what stands behind ";" in "notify = reload a ; reload b"/)
})

test('docs/from-lacme.md shows what is written', async () => {
  const at = join(folder.path, 'shown')
  const real = (text: string) => text.replaceAll('/etc/', `${at}/etc/`)
  for (const path of ['etc/lacme', 'etc/nginx/ssl']) mkdirSync(join(at, path), { recursive: true })
  writeFileSync(join(at, 'etc/lacme/roots.pem'), '')
  writeKey(join(at, 'etc/lacme/account.key'), 'rsa')
  writeKey(join(at, 'etc/nginx/ssl/srv.key'), 'rsa')
  const snippet = (mark: string) => readSnippet('docs/from-lacme.md', mark)
  for (const file of ['lacme.conf', 'lacme-accountd.conf', 'lacme-certs.conf'])
    writeFileSync(join(at, 'etc/lacme', file), real(snippet(file)))
  mkdirSync(join(at, 'etc/lacme/lacme-certs.conf.d'))
  const { out, code } = await runCommand(['import', 'lacme', join(at, 'etc/lacme')])
  assert.equal(code, 3)
  const unwrapped = (text: string) => text.replaceAll(/\n# {3}/g, ' ').replace(/^dir = \S+/m, 'dir')
  assert.equal(unwrapped(out), unwrapped(real(snippet('configuration'))))
})

test('it does not overwrite, and says what it was called wrongly with', async () => {
  const { path } = lacmeFolder({ 'lacme.conf': main, 'lacme-certs.conf': '' })
  const before = readdirSync(path).length
  const taken = await runCommand(['import', 'lacme', path, '--output', join(path, 'lacme.conf')])
  assert.deepEqual([taken.code, readFileSync(join(path, 'lacme.conf'), 'utf8')], [1, main])
  assert.match(taken.err, /is there already/)
  const nowhere = await runCommand(['import', 'lacme', join(path, 'nowhere')])
  assert.deepEqual([nowhere.code, nowhere.out], [1, ''])
  const wrong = await runCommand(['import', 'lacme', path, '--nonsense'])
  assert.equal(wrong.code, 2)
  assert.equal((await runCommand(['import', 'certbot'])).code, 2)
  assert.equal(readdirSync(path).length, before)
})
