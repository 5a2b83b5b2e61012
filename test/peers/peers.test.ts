// The peers themselves: what the other tests stand on comes up, does its work, and goes away.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { untilLogged } from '../until.ts'
import { acceptsTcp } from './child.ts'
import { type Pebble, startPebble } from './pebble.ts'
import { freePort, requirePeer } from './peers.ts'
import { startApache, startHaproxy, startNginx, type WebServer } from './web-servers.ts'

const FETCH_PEERS = resolve(import.meta.dirname, '../../scripts/fetch-peers')

async function startBackend(): Promise<AsyncDisposable & { port: number }> {
  const server: Server = createServer((req, res) =>
    res.end(`backend got ${req.url} from ${req.headers.via ?? 'nobody'}`),
  )
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  const stop = () =>
    new Promise<void>((done) => {
      server.close(() => done())
      server.closeAllConnections()
    })
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: stop }
}

function readDirectory(pebble: Pebble): Promise<Record<string, unknown>> {
  return new Promise((done, fail) => {
    const ca = readFileSync(pebble.caFile)
    const req = request(pebble.directoryUrl, { ca, headers: { 'user-agent': 'acmems-tests' }, agent: false }, (res) => {
      let body = ''
      res.on('data', (chunk) => {
        body += String(chunk)
      })
      res.on('end', () => done(JSON.parse(body)))
    })
    req.on('error', fail)
    req.end()
  })
}

test('Pebble comes up, serves its directory with a certificate of its CA, and goes away', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  const pebble = await startPebble({ alternateRoots: 1 })
  await using _ = pebble
  const directory = await readDirectory(pebble)
  assert.ok(String(directory.newOrder).startsWith(`${new URL(pebble.directoryUrl).origin}/`))
  assert.equal(pebble.requests().get('GET /dir'), 1)
  assert.equal(pebble.issuedCount(), 0)
  assert.match(await pebble.root(1), /^-----BEGIN CERTIFICATE-----/)
  assert.notEqual(await pebble.root(0), await pebble.root(1))
  await pebble.setA('peer.test', ['127.0.0.2'])
  await pebble.clearA('peer.test')
  assert.match(pebble.log(), /Configured to reject 5% of good nonces/)
  await pebble.stop()
  assert.equal(await acceptsTcp(Number(new URL(pebble.directoryUrl).port)), false)
  assert.equal(await acceptsTcp(Number(new URL(pebble.challtestsrvUrl).port)), false)
  assert.match(pebble.log(), /Configured to reject 5% of good nonces/, 'the log outlives it')
})

test('Pebble that cannot come up says why', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  await assert.rejects(startPebble({ eab: { 'kid-1': 'not base64url!' } }), /pebble ended while starting:[\s\S]*base64/)
})

async function assertProxies(server: WebServer): Promise<void> {
  await using running = server
  const response = await fetch(`http://127.0.0.1:${running.httpPort}/.well-known/acme-challenge/token`)
  assert.equal(await response.text(), 'backend got /.well-known/acme-challenge/token from nobody')
  // A server writes its log when it likes.
  await untilLogged(running, /GET \/\.well-known\/acme-challenge\/token/)
  await running.stop()
  assert.equal(await acceptsTcp(running.httpPort), false)
}

test('nginx proxies to a backend', async (t) => {
  if (!requirePeer(t, 'nginx')) return
  await using backend = await startBackend()
  const httpPort = await freePort()
  const snippet = `upstream acmems { server 127.0.0.1:${backend.port}; }
server { listen 127.0.0.1:${httpPort}; location /.well-known/acme-challenge/ { proxy_pass http://acmems; } }`
  await assertProxies(await startNginx(snippet, { httpPort }))
})

test('Apache proxies to a backend', async (t) => {
  if (!requirePeer(t, 'apache2')) return
  await using backend = await startBackend()
  const httpPort = await freePort()
  const path = '/.well-known/acme-challenge/'
  await assertProxies(await startApache(`ProxyPass ${path} http://127.0.0.1:${backend.port}${path}`, { httpPort }))
})

test('HAProxy proxies to a backend', async (t) => {
  if (!requirePeer(t, 'haproxy')) return
  await using backend = await startBackend()
  const httpPort = await freePort()
  const snippet = `frontend web
  bind 127.0.0.1:${httpPort}
  use_backend acmems if { path_beg /.well-known/acme-challenge/ }
backend acmems
  server acmems 127.0.0.1:${backend.port}`
  await assertProxies(await startHaproxy(snippet, { httpPort }))
})

test('a web server with a faulty configuration says why it did not come up', async (t) => {
  if (!requirePeer(t, 'nginx')) return
  await assert.rejects(
    startNginx('no_such_directive;', { httpPort: await freePort() }),
    /unknown directive "no_such_dir/,
  )
})

test('free ports differ, also from those of another test process', async () => {
  // As another process whose id leads to the same range.
  const other: typeof import('./free-port.ts') = await import(new URL('free-port.ts?other', import.meta.url).href)
  const sixty = (find: typeof freePort) => Promise.all(Array.from({ length: 60 }, () => find()))
  const ports = [...(await sixty(freePort)), ...(await sixty(other.freePort))]
  assert.equal(new Set(ports).size, ports.length)
})

test('fetch-peers that can fetch nothing fails nothing and records what is absent', () => {
  const folder = mkdtempSync(join(tmpdir(), 'acmems-fetch-'))
  try {
    // All that it calls before it would look for apt-get, which is not there.
    for (const tool of ['cat', 'cksum', 'dirname', 'find', 'mkdir']) {
      const path = spawnSync('/bin/sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim()
      symlinkSync(path, join(folder, tool))
    }
    const fetchPeers = (env: Record<string, string>) =>
      spawnSync('/bin/sh', [FETCH_PEERS], {
        env: { PATH: folder, PEERS_DIR: join(folder, 'peers'), ...env },
        encoding: 'utf8',
      })
    const offline = fetchPeers({ PEERS_OFFLINE: '1' })
    assert.deepEqual([offline.status, offline.stderr], [0, ''])
    assert.match(offline.stdout, /^skip: pebble: PEERS_OFFLINE=1/m)
    const withoutApt = fetchPeers({ PEERS_OFFLINE: '' })
    assert.equal(withoutApt.status, 0, withoutApt.stderr)
    assert.match(withoutApt.stdout, /^skip: pebble: not installed, and no apt-get to fetch it with$/m)
    assert.match(readFileSync(join(folder, 'peers/skipped'), 'utf8'), /^pebble\tnot installed/m)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
