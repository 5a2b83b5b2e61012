// "acmems responder": validations are answered by a process that can do nothing else.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { accountAt } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { dig } from './peers/dig.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'
import { makeResponderWorld } from './responder-world.ts'
import { until } from './until.ts'

const path = '/.well-known/acme-challenge/'

async function statusAt(port: number): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}${'a'.repeat(43)}`)
  await answer.body?.cancel()
  return answer.status
}

const answers = (status: number, port: number) => async () => (await statusAt(port).catch(() => undefined)) === status

/** How a handshake for tls-alpn-01 ends. */
function handshake(port: number): Promise<string> {
  return new Promise((resolve) => {
    const wish = { servername: 'unknown.example.test', ALPNProtocols: ['acme-tls/1'], rejectUnauthorized: false }
    const socket = connectTls({ port, host: '127.0.0.1', ...wish }, () => resolve('connected'))
    socket.on('error', (error) => resolve(error.message))
  })
}

test('Pebble validates by all three ways; server and responder are killed in between', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl') || !requirePeer(t, 'dig')) return
  const dnsPort = await freePort()
  await using pebble = await startPebble({ authzReuse: 0, dnsServer: `127.0.0.1:${dnsPort}` })
  await using other = await startPebble({ authzReuse: 0 })
  const [httpPort, tlsPort] = [other.httpPort, other.tlsPort]
  const block = (name: string) =>
    `[auth "${name}"]\nip = 127.0.0.0/8\ndomain = *.${name}.test\nverification = ${name}\n${name === 'dns' ? 'wildcard = yes\n' : 'issuer = other\n'}`
  await using world = await makeResponderWorld(`${accountAt(pebble)}
${accountAt(other).replace('[account]', '[issuer "other"]\ntype = acme')}
[verification "http"]\ntype = http01\nlistener = 127.0.0.1:${httpPort}
[verification "tls"]\ntype = tlsalpn01\nlistener = 127.0.0.1:${tlsPort}
[verification "dns"]\ntype = dns01-server\nlistener = 127.0.0.1:${dnsPort}\nself-check = no
${['http', 'tls', 'dns'].map(block).join('')}`)

  async function issue(kind: string, names = [`${kind}.${kind}.test`]): Promise<void> {
    const reply = await postCsr(world.server.signUrl, makeCsr({ names }))
    assert.equal(reply.status, 200, reply.text + world.server.log() + world.responder.log())
    assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), names.map((name) => `DNS:${name}`).sort())
  }
  const issueAll = async () => void (await Promise.all([issue('http'), issue('tls'), issue('dns', ['*.dns.test'])]))

  await t.test('each way', issueAll)
  await t.test("a host that is no name has no answer, and ends nobody else's questions", async () => {
    const headers = { host: 'a'.repeat(12_000) }
    const status = await new Promise((resolve, reject) => {
      const asked = get({ port: httpPort, path: `${path}${'a'.repeat(43)}`, headers }, (answer) => {
        answer.resume()
        resolve(answer.statusCode)
      })
      asked.on('error', reject)
    })
    assert.equal(status, 404)
    assert.doesNotMatch(world.server.log(), /a responder has gone/)
  })
  await t.test('the server is not there: later, later, later; then all is well again', async () => {
    await world.kill('server')
    await until('503', answers(503, httpPort))
    assert.equal((await dig(dnsPort, '_acme-challenge.a.dns.test', 'TXT')).status, 'SERVFAIL')
    assert.match(await handshake(tlsPort), /internal error/i)
    await world.startServer()
    await until('404', answers(404, httpPort))
    await issueAll()
  })
  await t.test('the responder is killed: another one takes over', async () => {
    await world.kill('responder')
    await world.untilServerSays('a responder has gone')
    await assert.rejects(statusAt(httpPort))
    await world.startResponder()
    await until('404', answers(404, httpPort))
    await issueAll()
  })
  await t.test('200 silent peers while a validation passes', async () => {
    const silent = [httpPort, tlsPort, dnsPort].flatMap((port) =>
      Array.from({ length: 200 }, () => connect({ port, host: '127.0.0.1' }).on('error', () => undefined)),
    )
    await Promise.all(silent.map((socket) => new Promise((resolve) => socket.once('connect', resolve))))
    await issueAll()
    for (const socket of silent) socket.destroy()
  })
  await t.test('a reload moves it, and the server knows where it is', async () => {
    const moved = await freePort()
    const { configFile, pid } = world.server
    writeFileSync(configFile, readFileSync(configFile, 'utf8').replace(`127.0.0.1:${httpPort}`, `127.0.0.1:${moved}`))
    process.kill(pid, 'SIGHUP')
    await world.untilServerSays(`"http-01":["127.0.0.1:${moved}"]`)
    assert.equal(await statusAt(moved), 404)
    await assert.rejects(statusAt(httpPort))
  })
  await t.test('SIGTERM ends it in order, and the socket goes with the server', async () => {
    process.kill(world.responder.pid, 'SIGTERM')
    await until('the end', () => world.responder.hasEnded())
    for (const word of ['stopping', 'stopped']) assert.match(world.responder.log(), new RegExp(`"msg":"${word}"`))
    process.kill(world.server.pid, 'SIGTERM')
    await until('the end', () => !existsSync(world.socket))
  })
})
