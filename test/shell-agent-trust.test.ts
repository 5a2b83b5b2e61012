// What the shell agent believes: its requests' signatures, the server it talks to, the certificates that it takes.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTestAuthority, startAgentStub, verifySignature } from './agent-stub.ts'
import { type AgentHost, makeAgentHost, shareOf, shells } from './agent-world.ts'

const reply = (response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}) => {
  response.writeHead(status, headers)
  response.end(text)
}

function thumbprint(publicKeyPem: string): string {
  return createHash('sha256')
    .update(createPublicKey(publicKeyPem).export({ type: 'spki', format: 'der' }))
    .digest('base64url')
}

for (const shell of shells) {
  test(`${shell}: enrolment, and requests signed by every kind of key`, async (t) => {
    const authority = makeTestAuthority()
    const token = 'abc_-DEF0123456789'
    await using stub = await startAgentStub(({ headers, body }, response) => {
      if (headers.authorization === `Bearer ${token}`) reply(response, 200, `${thumbprint(body)}\n`)
      else reply(response, 401, 'no such token\n')
    })
    using host = makeAgentHost(t, shell, stub.url)
    if (host === undefined) return
    writeFileSync(
      join(host.folder, 'empty.conf'),
      `server = ${stub.url}\nstate = ${host.state}\nname = a.test\ndirectory = ${host.directory}\npin = ${stub.pin}\n`,
    )
    const wrong = await host.run('enroll', '--token', 'wrong', '--config', join(host.folder, 'empty.conf'))
    assert.deepEqual(
      [wrong.code, /refused this host \(401\): no such token/.test(wrong.stderr)],
      [3, true],
      wrong.stderr,
    )
    const enrolled = await host.run('enroll', '--token', token, '--config', join(host.folder, 'empty.conf'))
    assert.equal(enrolled.code, 0, enrolled.stderr)
    const agentKey = join(host.state, 'agent.key')
    assert.equal(statSync(agentKey).mode & 0o777, 0o600)
    assert.equal(statSync(host.state).mode & 0o777, 0o700)
    const publicPem = readFileSync(join(host.state, 'agent.pub'), 'utf8')
    assert.equal(stub.asked.at(-1)?.body, publicPem)

    const secrets = ['a short shared secret', 'long '.repeat(30).trim()]
    const keyFile = (name: string, ...args: string[]) => {
      execFileSync('openssl', ['genpkey', ...args, '-out', join(host.folder, name)], { stdio: 'pipe' })
      return { 'host-key': join(host.folder, name) }
    }
    const kinds: [string, Record<string, string>, string | undefined][] = [
      ['ecdsa-p256-sha256', {}, undefined],
      ['rsa-v1_5-sha256', keyFile('rsa.key', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'), undefined],
      ['ed25519', { ...keyFile('ed.key', '-algorithm', 'ED25519'), 'key-id': 'host one' }, undefined],
      ...secrets.map((secret, i): [string, Record<string, string>, string] => {
        writeFileSync(join(host.folder, `secret${i}`), `${secret}\n`)
        return ['hmac-sha256', { 'secret-file': join(host.folder, `secret${i}`), 'key-id': 'block' }, secret]
      }),
    ]
    for (const [algorithm, lines, secret] of kinds) {
      host.configure({ name: 'a.test', pin: stub.pin, ...lines })
      const file = lines['host-key'] ?? agentKey
      const key = secret ?? createPublicKey(readFileSync(file))
      // Its clock is two hours behind ours: it is told once, and believes it.
      const aheadS = 7200
      stub.asked.length = 0
      stub.answer = (asked, response) => {
        const { created, covered } = verifySignature(asked, key)
        assert.equal(covered, '"@method" "@authority" "@path" "content-digest"')
        const serverTime = Date.now() + aheadS * 1000
        if (Math.abs(created * 1000 - serverTime) > 300_000) {
          response.sendDate = false
          reply(response, 401, 'stale\n', { date: new Date(serverTime).toUTCString() })
        } else reply(response, 200, authority.chainFor(asked.body))
      }
      const run = await host.run('--force')
      assert.equal(run.code, 0, `${algorithm}: ${run.stderr}`)
      assert.match(run.stderr, /clock is 7[12]\d\d s behind/)
      assert.equal(stub.asked.length, 2)
      const [first, second] = stub.asked.map((asked) => verifySignature(asked, key))
      assert.notEqual(first?.nonce, second?.nonce)
      assert.match(String(stub.asked[0]?.headers['signature-input']), new RegExp(`alg="${algorithm}"`))
      const expected =
        lines['key-id'] ??
        thumbprint(String(createPublicKey(readFileSync(file)).export({ type: 'spki', format: 'pem' })))
      assert.equal(first?.keyId, expected)
    }
    // Who is refused for another reason than the time does not come again at once.
    stub.asked.length = 0
    stub.answer = (_, response) => reply(response, 401, 'this key is not known\u001b[2J here\n')
    const refused = await host.run('--force')
    assert.deepEqual([refused.code, stub.asked.length], [3, 1])
    assert.match(refused.stderr, /401\): this key is not known\[2J here/, 'nothing that a terminal would obey')
  })

  test(`${shell}: a server that lies installs nothing`, async (t) => {
    const [authority, stranger] = [makeTestAuthority(), makeTestAuthority()]
    await using stub = await startAgentStub(({ body }, response) =>
      reply(response, 200, authority.chainFor(body, { fromDays: -5 })),
    )
    using host = makeAgentHost(t, shell, stub.url)
    if (host === undefined) return
    const hooks = join(host.folder, 'hooks')
    const names = 'www.example.test example.test'
    host.configure({
      cacert: stub.caFile,
      name: names,
      roots: authority.writeRoot(host.folder),
      hook: `echo x >> ${hooks}`,
    })
    assert.equal((await host.run()).code, 0)
    const installed = readFileSync(join(host.directory, 'fullchain.pem'), 'utf8')

    const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
    const good = (csr: string) => authority.chainFor(csr)
    const lies: [string, (csr: string) => string, RegExp][] = [
      ['another key', (csr) => authority.chainFor(csr, { publicKey: otherKey }), /it is for another key/],
      [
        'another name',
        (csr) => authority.chainFor(csr, { names: ['bank.example.test'] }),
        /its names are bank\.example\.test, not example\.test www/,
      ],
      [
        'a name more',
        (csr) => authority.chainFor(csr, { names: ['www.example.test', 'example.test', 'a.test'] }),
        /its names are a\.test/,
      ],
      [
        'a name less',
        (csr) => authority.chainFor(csr, { names: ['www.example.test'] }),
        /its names are www\.example\.test, not/,
      ],
      ['over', (csr) => authority.chainFor(csr, { fromDays: -4, toDays: -1 }), /it ended /],
      ['not yet', (csr) => authority.chainFor(csr, { fromDays: 1 }), /not valid yet/],
      ['an old one', (csr) => authority.chainFor(csr, { fromDays: -40, toDays: 5 }), /older than the one that is here/],
      ['another root', (csr) => stranger.chainFor(csr), /does not lead to a trusted root/],
      [
        'no chain',
        (csr) => good(csr).replace(/(?<=END CERTIFICATE-----\n)[\s\S]*/, ''),
        /does not lead to a trusted root/,
      ],
      ['a login page', () => '<html>log in', /no certificate chain/],
      ['nothing', () => '', /no certificate chain/],
      ['cut off', (csr) => good(csr).slice(0, 700), /no certificate chain/],
      ['a command among it', (csr) => good(csr).replace('\n', '\n$(touch x)\n'), /no certificate chain/],
      ['endless', (csr) => good(csr) + 'x'.repeat(3_000_000), /more than any answer has/],
    ]
    for (const [what, lie, said] of shareOf(shell, lies)) {
      stub.answer = ({ body }, response) => reply(response, 200, lie(body))
      const run = await host.run('--force')
      assert.match(run.stderr, said, what)
      assert.ok([1, 4].includes(run.code ?? -1), `${what}: ${run.code}`)
      assert.equal(readFileSync(join(host.directory, 'fullchain.pem'), 'utf8'), installed, what)
    }
    assert.equal(
      new Set(stub.asked.slice(1).map(({ body }) => body)).size,
      1,
      'one request, so one order, however often it is tried',
    )
    const refusals: [number, Record<string, string>, number][] = [
      [500, {}, 1],
      [302, { location: 'https://127.0.0.1:1/' }, 1],
      [403, {}, 3],
      [415, {}, 3],
    ]
    for (const [status, headers, code] of shareOf(shell, refusals)) {
      stub.answer = (_, response) => reply(response, status, 'so it is\n', headers)
      const run = await host.run('--force')
      assert.deepEqual([run.code, /so it is/.test(run.stderr)], [code, true], run.stderr)
    }
    assert.ok(host.isPairWhole())
    assert.equal(readFileSync(hooks, 'utf8'), 'x\n')
    // And then it is honest again.
    stub.answer = ({ body }, response) => reply(response, 200, good(body))
    assert.equal((await host.run('--force')).code, 0)
    assert.notEqual(readFileSync(join(host.directory, 'fullchain.pem'), 'utf8'), installed)
    assert.ok(host.isPairWhole())
  })

  test(`${shell}: the pinned key, the pinned root, or neither: only the right server is asked`, async (t) => {
    const authority = makeTestAuthority()
    await using stub = await startAgentStub(({ body }, response) => reply(response, 200, authority.chainFor(body)))
    using host = makeAgentHost(t, shell, stub.url)
    if (host === undefined) return
    const wrongPin = `sha256//${createHash('sha256').update('x').digest('base64')}`
    for (const [lines, code, said] of [
      [{ pin: wrongPin }, 4, /does not have the pinned key/],
      [{ cacert: authority.writeRoot(host.folder) }, 4, /cannot be trusted/],
      [{}, 4, /cannot be trusted/],
      [{ server: 'https://127.0.0.1:1', pin: wrongPin }, 1, /cannot be reached/],
      [
        { server: stub.url.replace('https', 'http').replace('127.0.0.1', '192.0.2.1') },
        2,
        /plain HTTP only to this machine/,
      ],
      [{ server: `${stub.url}/sign` }, 2, /only host and port/],
      [{ pin: 'MD5' }, 2, /pin = MD5 must begin with/],
    ] as const) {
      host.configure({ name: 'a.test', ...lines })
      const run = await host.run()
      assert.deepEqual([run.code, said.test(run.stderr)], [code, true], run.stderr)
    }
    assert.equal(stub.asked.length, 0)
    assert.ok(!existsSync(host.directory))
    host.configure({ name: 'a.test', pin: stub.pin })
    assert.equal((await host.run()).code, 0)
  })

  test(`${shell}: a sealed box is fetched, opened, checked, installed; not again where it is the same`, async (t) => {
    const authority = makeTestAuthority()
    await using stub = await startAgentStub((_, response) => reply(response, 404, ''))
    using host = makeAgentHost(t, shell, stub.url)
    if (host === undefined) return
    host.configure({
      box: 'printer',
      pin: stub.pin,
      name: 'printer.test',
      roots: authority.writeRoot(host.folder),
      'key-type': 'ec-256',
    })
    const none = await host.run()
    assert.deepEqual([none.code, /no .*agent\.key to open the box with/.test(none.stderr)], [2, true], none.stderr)
    const made = await host.run('key')
    assert.match(made.stdout, /^-----BEGIN PUBLIC KEY-----\n/)

    stub.answer = (_, response) => reply(response, 201, 'registered\n')
    assert.equal((await host.run('register')).code, 0)
    const registration = stub.asked.at(-1)
    assert.deepEqual(
      [registration?.method, registration?.url],
      ['POST', '/box/printer?domain=printer.test&key-type=ec-256'],
    )
    assert.equal(registration?.body, made.stdout)
    if (registration) assert.match(verifySignature(registration, createPublicKey(made.stdout)).covered, /"@query"/)

    const box = sealedBox(host, authority.chain)
    const first = box()
    let [current, etag] = [first, '"1"']
    stub.answer = (asked, response) => {
      assert.equal(verifySignature(asked, createPublicKey(made.stdout)).covered, '"@method" "@authority" "@path"')
      if (asked.headers['if-none-match'] === etag) reply(response, 304, '')
      else reply(response, 200, current, { etag })
    }
    const fetched = await host.run()
    assert.equal(fetched.code, 0, fetched.stderr)
    assert.ok(host.isPairWhole())
    const serial = host.certificate()?.serialNumber
    const same = await host.run('-v')
    assert.match(same.stderr, /the box is as it was/)
    ;[current, etag] = [box(), '"2"']
    const flipped = current.split('\n')
    flipped[5] = [...(flipped[5] ?? '')].reverse().join('')
    const whole = current
    current = flipped.join('\n')
    const damaged = await host.run()
    assert.deepEqual([damaged.code, /does not open|no sealed key/.test(damaged.stderr)], [4, true], damaged.stderr)
    assert.equal(host.certificate()?.serialNumber, serial)
    current = box('other.test')
    assert.equal((await host.run()).code, 4, 'for another name')
    current = whole
    assert.equal((await host.run()).code, 0)
    assert.notEqual(host.certificate()?.serialNumber, serial)
    assert.ok(host.isPairWhole())
  })
}

/** As any sender with openssl makes it: the agent must open what is not ours, too. */
function sealedBox(host: AgentHost, chain: ReturnType<typeof makeTestAuthority>['chain']): (name?: string) => string {
  const file = (name: string) => join(host.folder, name)
  const recipient = [
    'req',
    '-x509',
    '-new',
    '-key',
    join(host.state, 'agent.key'),
    '-subj',
    '/CN=r',
    '-out',
    file('r.pem'),
  ]
  execFileSync('openssl', recipient, { stdio: 'pipe' })
  return (name = 'printer.test') => {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const pem = keys.privateKey.export({ type: 'pkcs8', format: 'pem' })
    const args = ['cms', '-encrypt', '-binary', '-aes-256-gcm', '-outform', 'PEM', '-recip', file('r.pem')]
    return String(execFileSync('openssl', args, { input: pem })) + chain({ names: [name], publicKey: keys.publicKey })
  }
}
