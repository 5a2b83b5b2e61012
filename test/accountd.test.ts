// acmems accountd beside lacme-accountd: the same answers; and what clients and files can be, it lives and says so.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createPublicKey, verify } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import {
  askOnce,
  dial,
  lacmeAccountd,
  main,
  makeKeyFolder,
  openssl,
  ourAccountd,
  runStdio,
  signingInput,
  startHolder,
} from './accountd-world.ts'
import { runCommand } from './command.ts'
import { startChild, waitUntilReady } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import { until } from './until.ts'

const url = 'https://ca.example/acme/new-order'
const kid = 'https://ca.example/acme/acct/1'
const header = { alg: 'RS256', nonce: 'n', url, kid }
const good = signingInput(header, { identifiers: [{ type: 'dns', value: 'www.example.org' }] })

/** What upstream's accountd-validate gives it, and more of the kind. */
const inputs: readonly (readonly [string, string])[] = [
  ['an empty line', ''],
  ['no header', `.${good.split('.')[1]}`],
  ['no dot', good.split('.')[0] ?? ''],
  ['a header that is not base64url', `!${good}`],
  ['a payload that is not base64url', `${good}=`],
  ['three parts', `${good}.c2ln`],
  ['a header that is no JSON', signingInput('{"alg"', {})],
  ['a header that is a list', signingInput('[]', {})],
  ['a header that is a string', signingInput('"alg"', {})],
  ...(['alg', 'nonce', 'url', 'kid'] as const).map(
    (name) => [`a header without ${name}`, signingInput({ ...header, [name]: undefined }, {})] as const,
  ),
  ['a header with null', signingInput({ ...header, nonce: null }, {})],
  ['an empty alg', signingInput({ ...header, alg: '' }, {})],
  ['a jwk in the place of kid', signingInput({ alg: 'RS256', nonce: 'n', url, jwk: {} }, { contact: [] })],
  ['a good one', good],
  ['a good one without payload', signingInput(header)],
  ['a payload that is no JSON', signingInput(header, 'hello')],
  ['two good ones', `${good}\r\n${signingInput(header)}`],
  ['a good one, a bad one, a good one', `${good}\r\nx\r\n${good}`],
]

test('the same lines in, the same octets and the same log out as with lacme-accountd', async (t) => {
  if (!requirePeer(t, 'perl') || !requirePeer(t, 'lacme-accountd')) return
  using folder = makeKeyFolder('accountd-same')
  const config = join(folder.path, 'accountd.conf')
  for (const more of ['', `keyid = ${kid}\n`]) {
    writeFileSync(config, `privkey = file:${folder.keyFile}\n${more}`)
    for (const [what, line] of inputs) {
      if (more !== '' && what !== 'a good one') continue
      const [theirs, ours] = await Promise.all(
        [lacmeAccountd(), ourAccountd].map((program) =>
          runStdio(program, ['--stdio', `--config=${config}`], `${line}\r\n`, { HOME: folder.path }),
        ),
      )
      const answers = (out = '') => {
        const [greeting = '', ...rest] = out.split('\r\n')
        return [JSON.parse(greeting.slice('1 OK '.length)), ...rest]
      }
      assert.deepEqual(answers(ours?.out), answers(theirs?.out), what)
      const log = (err = '') => err.replace(/^\[\d+\]/gm, '[id]')
      assert.equal(log(ours?.err), log(theirs?.err), what)
    }
  }
})

test('signatures of each kind of key hold; an answer costs no more than the question', async () => {
  for (const [kind, alg] of [
    ['rsa', 'RS256'],
    ['P-256', 'ES256'],
    ['P-384', 'ES384'],
  ] as const) {
    using folder = makeKeyFolder('accountd-kinds', kind)
    const { out, code, err } = await runStdio(
      ourAccountd,
      ['--stdio', '--quiet', '--privkey', `file:${folder.keyFile}`, '--config', '/dev/null'],
      `${good}\r\n`,
    )
    assert.equal(code, 0, err)
    assert.equal(err, '', '--quiet')
    const [first = '', jwk = '', signature = ''] = out.split('\r\n')
    assert.equal(JSON.parse(first.slice(5)).alg, alg)
    const key = createPublicKey({ key: JSON.parse(jwk), format: 'jwk' })
    const digest = alg === 'ES384' ? 'sha384' : 'sha256'
    assert.ok(
      verify(digest, Buffer.from(good), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')),
    )
  }
})

test('no client ends it, and none keeps others out', async () => {
  using folder = makeKeyFolder('accountd-attack')
  await using holder = await startHolder(ourAccountd, folder.path, `privkey = file:${folder.keyFile}\n`)
  const { socket: path } = holder
  const works = async (when: string) => {
    assert.equal((await askOnce(path, good))?.length, 342, `${when}: ${holder.log().slice(-500)}`)
    assert.equal(holder.hasEnded(), false, when)
  }
  await works('at first')
  for (const [what, bytes] of [
    ['LF alone', `${good}\n`],
    ['half a line, then gone', good.slice(0, 40)],
    ['one MB without an end', 'A'.repeat(1024 * 1024)],
    ['one MB and an end', `${'A'.repeat(1024 * 1024)}\r\n`],
    ['NUL and 8 bits', '\x00\xff\r\n'],
    ['a deep header', `${signingInput(`${'['.repeat(50_000)}${']'.repeat(50_000)}`, {})}\r\n`],
    ['__proto__', `${signingInput('{"__proto__":{"alg":"x","nonce":"n","url":"u","kid":"k"}}', {})}\r\n`],
    ['the greeting back', '1 OK {}\r\n{}\r\n'],
  ] as const) {
    const { socket, line } = await dial(path)
    await line()
    await line()
    socket.write(bytes, 'latin1')
    socket.end()
    assert.equal(await line(), undefined, what)
    await works(what)
  }
  const resetting = connect({ path })
  resetting.on('error', () => undefined)
  resetting.once('connect', () => {
    resetting.write(`${good}\r\n`.repeat(100))
    resetting.destroy()
  })
  await works('after a reset')
  const silent = await Promise.all(Array.from({ length: 250 }, () => dial(path)))
  await works('with 250 that say nothing')
  const greedy = await dial(path)
  // Asks and asks, and reads nothing: what it is owed does not pile up here.
  greedy.socket.pause()
  for (let i = 0; i < 200; i++) greedy.socket.write(`${good}\r\n`.repeat(100))
  await works('with one that never reads')
  greedy.socket.destroy()
  for (const { socket } of silent) socket.destroy()
  const pipelined = await dial(path)
  await pipelined.line()
  await pipelined.line()
  pipelined.socket.write(`${good}\r\n`.repeat(50))
  for (let i = 0; i < 50; i++) assert.equal((await pipelined.line())?.length, 342)
  pipelined.socket.destroy()
  const many = await Promise.all(Array.from({ length: 50 }, () => askOnce(path, good)))
  assert.ok(many.every((signature) => signature === many[0]))
})

test('TERM removes the socket; what a kill left is known as stale; one that listens is left alone', async () => {
  using folder = makeKeyFolder('accountd-socket')
  const config = `privkey = file:${folder.keyFile}\n`
  const first = await startHolder(ourAccountd, folder.path, config)
  assert.equal(statSync(first.socket).mode & 0o777, 0o600)
  const args = ['accountd', '--config', first.configFile, '--socket', first.socket]
  const second = await runCommand(args)
  assert.equal(second.code, 1)
  assert.match(second.err, /Address already in use: another accountd listens/)
  assert.ok(await askOnce(first.socket, good))
  await first.stop()
  assert.ok(!existsSync(first.socket))

  const killed = await startHolder(ourAccountd, folder.path, config)
  process.kill(killed.pid, 'SIGKILL')
  await until('its end', () => killed.hasEnded())
  assert.ok(existsSync(killed.socket))
  const next = await startHolder(ourAccountd, folder.path, config)
  assert.ok(await askOnce(next.socket, good))
  // Somebody took the socket away, and another one began in its place: the first one's end leaves that alone.
  rmSync(next.socket)
  await using last = await startHolder(ourAccountd, folder.path, config)
  await next.stop()
  assert.ok(await askOnce(last.socket, good))

  const plain = join(folder.path, 'plain')
  writeFileSync(plain, 'precious')
  const overFile = await runCommand(['accountd', '--config', first.configFile, '--socket', plain])
  assert.match(overFile.err, /is no socket: move it away/)
  assert.equal(readFileSync(plain, 'utf8'), 'precious')
  const long = join(folder.path, 'x'.repeat(107))
  const tooLong = await runCommand(['accountd', '--config', first.configFile, '--socket', long])
  assert.equal(tooLong.code, 1)
  assert.match(tooLong.err, /too long for a socket: \d+ octets of at most 107/)
})

test('loose modes and wrong owners are refused', async () => {
  using folder = makeKeyFolder('accountd-loose')
  const config = join(folder.path, 'c.conf')
  writeFileSync(config, `privkey = file:${folder.keyFile}\n`)
  const inner = join(folder.path, 'run')
  mkdirSync(inner, { mode: 0o755 })
  const refusal = async () => {
    const { code, err } = await runCommand(['accountd', '--config', config, '--socket', join(inner, 'S.lacme')])
    assert.equal(code, 1, err)
    return err
  }
  chmodSync(folder.keyFile, 0o640)
  assert.match(await refusal(), /Insecure permissions on .*account\.pem: others can use it \(mode 0640\)/)
  chmodSync(folder.keyFile, 0o600)
  for (const mode of [0o777, 0o1777, 0o775]) {
    chmodSync(inner, mode)
    assert.match(await refusal(), /Insecure permissions on .*run: others can write there/)
  }
  chmodSync(inner, 0o755)
  chmodSync(folder.path, 0o777)
  assert.match(await refusal(), /Insecure permissions on .*others can write there/)
  chmodSync(folder.path, 0o755)
  if (process.getuid?.() !== 0) return
  chownSync(folder.keyFile, 65534, 65534)
  assert.match(await refusal(), /Insecure owner of .*account\.pem: it belongs to user 65534/)
  chownSync(folder.keyFile, 0, 0)
  chownSync(inner, 65534, 65534)
  assert.match(await refusal(), /Insecure owner of .*run/)
})

test('a configuration that others can change: nothing is promised by it; what lacme has there is only warned of', async () => {
  using folder = makeKeyFolder('accountd-loose')
  const config = join(folder.path, 'c.conf')
  const outcome = async (text: string, mode: number) => {
    writeFileSync(config, `privkey = file:${folder.keyFile}\n${text}`)
    chmodSync(config, mode)
    const { code, err } = await runStdio(ourAccountd, ['--stdio', '--quiet', '--config', config], '')
    return { code, err }
  }
  assert.deepEqual(await outcome(`keyid = ${kid}\n`, 0o640), { code: 0, err: '' })
  for (const text of [`keyid = ${kid}\n`, 'policy = account\n']) {
    const { code, err } = await outcome(text, 0o660)
    assert.deepEqual([code, err.includes('others can write to it')], [1, true], err)
  }
  const { code, err } = await outcome('', 0o664)
  assert.equal(code, 0)
  assert.match(err, /^Warning: .*c\.conf: others can write to it, .*mode 0664.*chmod go-w it\n$/)
  if (process.getuid?.() !== 0) return
  chownSync(config, 65534, 65534)
  assert.match((await outcome(`keyid = ${kid}\n`, 0o600)).err, /it belongs to user 65534/)
})

test('a socket that cannot be had: it is said why, and what to do', async () => {
  using folder = makeKeyFolder('accountd-no-socket')
  const refusal = async (socket: string) => {
    const { code, err } = await runStdio(ourAccountd, ['--privkey', `file:${folder.keyFile}`, '--socket', socket], '')
    assert.equal(code, 1)
    return err
  }
  assert.match(
    await refusal(join(folder.path, 'none', 'S')),
    /there is no folder .*none for the socket .*gone after each/,
  )
  assert.match(await refusal('fd:77'), /fd:77: descriptor 77 is no UNIX socket/)
})

test('what is wrong in the configuration is said', async () => {
  using folder = makeKeyFolder('accountd-config')
  const config = join(folder.path, 'c.conf')
  const outcome = async (text: string, env: Record<string, string> = {}) => {
    writeFileSync(config, text)
    return runStdio(ourAccountd, ['--stdio', '--config', config], '', env)
  }
  const key = `privkey = file:${folder.keyFile}\n`
  for (const [text, expected] of [
    ['', /'privkey' is not specified in .*c\.conf: write privkey = file:PATH there/],
    ['privkey = pkcs11:foo\n', /Unsupported method: pkcs11:foo/],
    [`${key}[section]\n`, /Invalid section\(s\): section/],
    [`${key}color = red\n`, /Unknown option\(s\): color/],
    [`${key}socket = %x/S\n`, /%x in .* is not known/],
    [`${key}policy = issuing\n`, /set server, the CA's directory, or keyid/],
    [`${key}policy = all\n`, /write "issuing", or "account"/],
    [`${key}policy =\n`, /c\.conf:2: policy has no value: write one, or leave the line out/],
    [`${key}server = https://ca.example/dir\nnames =\n`, /c\.conf:3: names has no value/],
    [`${key}wildcards = true\n`, /c\.conf:2: wildcards: "true" is neither yes nor no/],
    [`${key}rate = many\n`, /c\.conf:2: rate: .*no rate; write 600\/1h/],
    [`${key}socket-mode = 0666\n`, /0600, or 0660 for a group/],
    [`${key}names = exa_mple.org\nserver = https://ca.example/dir\n`, /c\.conf:2: names: .*exa_mple/],
    [`${key}names = ::1%eth0\nserver = https://ca.example/dir\n`, /c\.conf:2: names: .*no.* IP address/],
    [`${key}keyid = 123456\n`, /c\.conf:2: keyid: "123456" is no address of a CA/],
    [`${key}keyid = https://CA.example/acct/1\n`, /c\.conf:2: keyid: .* is not how a CA writes/],
    ['privkey = file:/nonexistent\n', /ENOENT/],
    [`privkey = file:${config}\n`, /Insecure permissions|Not a private key/],
  ] as const) {
    const { code, err, out } = await outcome(text)
    assert.deepEqual([code, out], [1, ''], text)
    assert.match(err, expected, text)
  }
  const bounded = await outcome(`${key}order-rate = 1/1d\n`)
  assert.match(bounded.err, /with --stdio, rate and order-rate are of this connection alone/)
  // Specifiers, and a comment behind a value, as lacme reads them.
  const name = folder.keyFile.slice(dirname(folder.keyFile).length)
  const { code, err, out } = await outcome(`privkey = file:%T${name} ; the key\nquiet = Yes\n`, { TMPDIR: folder.path })
  assert.deepEqual([code, err], [0, ''])
  assert.match(out, /^1 OK /)
  const elsewhere = await runStdio(ourAccountd, ['--stdio', '--config', '%h/none.conf'], '', { HOME: folder.path })
  assert.match(elsewhere.err, new RegExp(`open '${userInfo().homedir}/none.conf'`), 'not what HOME says')
})

test('with keyid only what gets certificates is signed, and the key stays hidden; the admin socket signs the rest', async () => {
  using folder = makeKeyFolder('accountd-keyid')
  const admin = join(folder.path, 'admin', 'S.lacme')
  mkdirSync(dirname(admin), { mode: 0o700 })
  await using holder = await startHolder(
    ourAccountd,
    folder.path,
    `privkey = file:${folder.keyFile}\nkeyid = ${kid}\nadmin-socket = ${admin}\nlogfile = ${folder.path}/log\naudit-log = ${folder.path}/audit\nnames = *.example.org 2001:DB8:0::1\norder-rate = 4/1h\n`,
  )
  const greeting = await dial(holder.socket)
  assert.equal(JSON.parse((await greeting.line())?.slice(5) ?? '').kid, kid)
  assert.equal(await greeting.line(), '{}')
  greeting.socket.destroy()
  const read = signingInput({ ...header, url: kid })
  const deactivate = signingInput({ ...header, url: kid }, { status: 'deactivated' })
  const order = (...values: string[]) =>
    signingInput(header, { identifiers: values.map((value) => ({ type: 'dns', value })) })
  assert.ok(await askOnce(holder.socket, read))
  assert.ok(await askOnce(holder.socket, order('a.example.org', 'b.example.org')))
  assert.equal(await askOnce(holder.socket, order('a.example.org', 'a.example.com')), undefined)
  assert.equal(await askOnce(holder.socket, order('*.example.org')), undefined, 'wildcards = yes is not there')
  assert.equal(await askOnce(holder.socket, deactivate), undefined)
  assert.ok(await askOnce(admin, deactivate))
  assert.ok(await askOnce(holder.socket, order('a.example.org')))
  assert.ok(await askOnce(holder.socket, order('a.example.org')))
  const address = signingInput(header, { identifiers: [{ type: 'ip', value: '2001:db8::1' }] })
  assert.ok(await askOnce(holder.socket, address), 'however it is written')
  assert.equal(await askOnce(holder.socket, order('a.example.org')), undefined, 'order-rate')
  const log = readFileSync(join(folder.path, 'log'), 'utf8')
  assert.match(log, /^\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] \[\d+\] SIGNED header=base64url\(\{"alg"/m)
  assert.match(log, /NOSIGN \[it would give the account away or end it\] header=/)
  assert.equal(statSync(join(folder.path, 'log')).mode & 0o777, 0o600)

  // The log is moved away and opened anew; the chain goes on in the new file.
  const [audit, old] = [join(folder.path, 'audit'), join(folder.path, 'audit.1')]
  renameSync(audit, old)
  process.kill(holder.pid, 'SIGHUP')
  await until('the new audit log', () => existsSync(audit))
  assert.ok(await askOnce(holder.socket, read))
  await holder.stop()
  const whole = await runCommand(['accountd', 'check-audit', old, audit])
  assert.equal(whole.code, 0, whole.out)
  assert.match(whole.out, /^1\d lines in order/)
  assert.match(holder.log(), new RegExp(`audit log ends with ${/hash is (\w+)/.exec(whole.out)?.[1]}`))
  const lines = readFileSync(old, 'utf8').split('\n')
  for (const changed of [
    lines.filter((_, index) => index !== 2).join('\n'),
    readFileSync(old, 'utf8').replace('a.example.org', 'c.example.org'),
    `${lines.slice(0, 3).join('\n')}\n{"previous":"00"}\n`,
  ]) {
    writeFileSync(old, changed)
    const { code, out } = await runCommand(['accountd', 'check-audit', old, audit])
    assert.equal(code, 1)
    assert.match(out, /audit(\.1)?:\d+: it does not follow the line before/)
  }
})

test('keys that are locked: a pass phrase from a file, from the terminal, or gpg', async (t) => {
  using folder = makeKeyFolder('accountd-locked')
  const locked = join(folder.path, 'locked.pem')
  openssl('pkcs8', '-topk8', '-v2', 'aes256', '-in', folder.keyFile, '-out', locked, '-passout', 'pass:open sesame')
  chmodSync(locked, 0o600)
  const traditional = join(folder.path, 'traditional.pem')
  openssl('rsa', '-traditional', '-aes128', '-in', folder.keyFile, '-out', traditional, '-passout', 'pass:open sesame')
  chmodSync(traditional, 0o600)
  const phrase = join(folder.path, 'phrase')
  writeFileSync(phrase, 'open sesame\n', { mode: 0o600 })
  const config = join(folder.path, 'c.conf')
  for (const file of [locked, traditional]) {
    // systemd's folder of credentials is %d.
    writeFileSync(config, `privkey = file:${file}\npassphrase-file = %d/phrase\n`)
    const { out, err } = await runStdio(ourAccountd, ['--stdio', '--config', config], `${good}\r\n`, {
      CREDENTIALS_DIRECTORY: folder.path,
    })
    assert.equal(out.split('\r\n')[2]?.length, 342, err)
  }
  writeFileSync(phrase, 'wrong')
  const wrong = await runStdio(ourAccountd, ['--stdio', '--config', config], '', { CREDENTIALS_DIRECTORY: folder.path })
  assert.match(wrong.err, /the pass phrase does not open it/)
  await t.test('at the terminal', async (inner) => {
    const script = requirePeer(inner, 'script')
    if (script === undefined) return
    writeFileSync(config, `privkey = file:${locked}\n`)
    const command = `${process.execPath} ${ourAccountd.args.join(' ')} --config ${config} --stdio </dev/null`
    const child = spawn(script.path, ['-qec', command, '/dev/null'], { env: { ...process.env, ...script.env } })
    let shown = ''
    child.stdout.on('data', (chunk) => {
      shown += String(chunk)
      if (shown.includes('pass phrase:') && !child.stdin.writableEnded) child.stdin.end('opne\x15open sesamX\x7fe\n')
    })
    await new Promise((done) => child.once('close', done))
    assert.match(shown, /1 OK \{"alg":"RS256"/)
    assert.ok(!shown.includes('sesame'), 'nothing of it is shown')
  })
  await t.test('by gpg', async () => {
    writeFileSync(config, `privkey = gpg:${folder.keyFile}\ngpg = ${join(folder.path, 'gpg')} --quiet\n`)
    // What gpg is called with, word for word.
    writeFileSync(
      join(folder.path, 'gpg'),
      `#!/bin/sh\n[ "$*" = "--quiet -o - --decrypt -- ${folder.keyFile}" ] && exec cat ${folder.keyFile}\necho no >&2; exit 2\n`,
      { mode: 0o755 },
    )
    const { out, err } = await runStdio(ourAccountd, ['--stdio', '--config', config], `${good}\r\n`)
    assert.equal(out.split('\r\n')[2]?.length, 342, err)
  })
})

test('a socket at which somebody else listens is left alone', async () => {
  using folder = makeKeyFolder('accountd-foreign')
  const server = createServer((socket) => socket.on('error', () => undefined))
  await new Promise<void>((done) => server.listen(folder.socket, done))
  const { code, err } = await runCommand([
    ...['accountd', '--config', '/dev/null', '--privkey', `file:${folder.keyFile}`, '--socket', folder.socket],
  ])
  server.close()
  assert.equal(code, 1)
  assert.match(err, /already in use/)
})

test('the server has a user of its own: it can have things signed, and cannot read the key or listen in its place', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can be several users')
  using folder = makeKeyFolder('accountd-users')
  const [keeper, server, stranger, group] = [65_531, 65_532, 65_533, 65_530]
  const run = join(folder.path, 'run')
  mkdirSync(run)
  chownSync(run, keeper, group)
  chmodSync(run, 0o750)
  chownSync(folder.keyFile, keeper, keeper)
  const as = (uid: number, gid: number, code: string) => runAs(uid, gid, ['--input-type=module', '-e', code])
  const holder = startChild(
    process.execPath,
    [main, 'accountd', '--config', '/dev/null', '--privkey', `file:${folder.keyFile}`, '--socket', `${run}/S`],
    { cwd: '/', env: {}, logFile: join(folder.path, 'log'), uid: keeper, gid: group },
  )
  await using _ = holder
  await waitUntilReady(holder, 'accountd', async () => existsSync(`${run}/S`)).catch(() => undefined)
  if (/EACCES.*main\.ts|Cannot find module/.test(holder.log())) return t.skip('other users cannot read our program')
  const connects = `import net from 'node:net'; net.connect('${run}/S').on('data', (d) => { console.log(String(d)); process.exit() }).on('error', (e) => { console.log(e.code); process.exit() })`
  assert.match((await as(server, group, connects)).out, /EACCES/, '0600 is for the keeper alone')
  await holder.stop()

  // As root left it, who tried it by hand.
  const bySomebody = `require('net').createServer().listen('${run}/S', () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', `process.umask(0o177); ${bySomebody}`])
  const { command, args } = ourAccountd
  const argv = [...args, '--config', '/dev/null', '--privkey', `file:${folder.keyFile}`, '--socket', `${run}/S`]
  const { stderr } = spawnSync(command, argv, { cwd: '/', env: {}, uid: keeper, gid: group, encoding: 'utf8' })
  assert.match(stderr, /run\/S is there already, and another user's: .* remove it/)
  rmSync(`${run}/S`)
  writeFileSync(join(folder.path, 'c.conf'), `privkey = file:${folder.keyFile}\nsocket-mode = 0660\n`)
  await using shared = startChild(
    process.execPath,
    [main, 'accountd', '--config', join(folder.path, 'c.conf'), '--socket', `${run}/S`],
    { cwd: '/', env: {}, logFile: join(folder.path, 'log2'), uid: keeper, gid: group },
  )
  await waitUntilReady(shared, 'accountd', async () => existsSync(`${run}/S`))
  assert.match((await as(server, group, connects)).out, /^1 OK/)
  assert.match((await as(stranger, stranger, connects)).out, /EACCES/)
  const attempt = (act: string) =>
    `import fs from 'node:fs'; try { ${act}; console.log('done') } catch (e) { console.log(e.code) }`
  for (const act of [
    `fs.readFileSync('${folder.keyFile}')`,
    `fs.unlinkSync('${run}/S')`,
    `fs.writeFileSync('${run}/T', '')`,
    `fs.readFileSync('/proc/${shared.pid}/mem')`,
    `fs.readFileSync('/proc/${shared.pid}/environ')`,
    `process.kill(${shared.pid}, 'SIGTERM')`,
  ])
    assert.match((await as(server, group, attempt(act))).out, /EACCES|EPERM/, act)
})

function runAs(uid: number, gid: number, args: readonly string[]): Promise<{ code: number | null; out: string }> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, args, { uid, gid, cwd: '/', env: {}, stdio: ['ignore', 'pipe', 'ignore'] })
    let out = ''
    child.stdout.on('data', (chunk) => {
      out += String(chunk)
    })
    child.on('error', fail)
    child.on('close', (code) => done({ code, out }))
  })
}
