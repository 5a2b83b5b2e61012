// Somebody has taken over the server, and tries what its user can: every attempt fails, and is on record.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { findFlaws } from '../src/parts/confinement.ts'
import { parseStanding } from '../src/parts/standing.ts'
import { accountAndHttp01, accountAt } from './acmems.ts'
import { makeCsr, postCsr } from './host.ts'
import { foreignOf, makeOwned, runAs, startParts, users, whyNoParts } from './parts-world.ts'
import { startPebble } from './peers/pebble.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const skip = whyNoParts()
const intruder = resolve(import.meta.dirname, 'compromised-server.ts')

/** Made with the key itself, before accountd is there: what accountd signs for the server makes no account. */
function register(folder: string, account: string): string {
  const config = join(folder, 'register.ini')
  const dir = join(folder, 'registered')
  const key = `key = file:${folder}/key/account.pem\ndir = ${dir}\n`
  writeFileSync(
    config,
    `${account.replace('[account]\n', `[account]\n${key}`)}[state]\nurl = sqlite:${folder}/r/state.db\n`,
  )
  execFileSync(process.execPath, [main, 'register', config], { stdio: 'pipe' })
  const text = readFileSync(join(dir, 'registration.json'), 'utf8')
  const url = /"(https:\/\/[^"]*my-account[^"]*)"/.exec(text)?.[1]
  assert.ok(url !== undefined, text)
  return url
}

test('a server that was taken over gets neither key, nor account, nor a name that is not on the list', {
  skip,
}, async (t) => {
  const pebble = await startPebble()
  t.after(() => pebble.stop())
  let accountUrl = ''
  const audit = 'key/accountd.audit'
  const parts = await startParts(
    (run) =>
      `firewall = ${run}/firewall/S\n` +
      accountAndHttp01(pebble).replace('[account]\n', `[account]\nkey = accountd:${run}/accountd/S.lacme\n`) +
      '[auth "all"]\nip = 127.0.0.1\ndomain = **\n' +
      `[certificate "web"]\ndomain = host.test\ndirectory = ${join(run, '..', 'host', 'web')}\n`,
    {
      env: { STRAY_VARIABLE: 'of root' },
      before(folder) {
        accountUrl = register(folder, accountAt(pebble))
        makeOwned(join(folder, 'key', 'admin'), users.accountd)
        writeFileSync(
          join(folder, 'accountd.conf'),
          [
            `privkey = file:${folder}/key/account.pem`,
            ...['policy = issuing', `server = ${pebble.directoryUrl}`, 'names = **.test'],
            ...[`admin-socket = ${folder}/key/admin/S.lacme`, `audit-log = ${join(folder, audit)}`, ''],
          ].join('\n'),
        )
      },
    },
  )
  t.after(() => parts.stop())
  const sign = async (name: string) => (await postCsr(parts.signUrl, makeCsr({ names: [name] }))).status
  const other = await postCsr(parts.signUrl, makeCsr({ names: ['www.test'] }))
  assert.equal(other.status, 200)
  const hostKey = join(parts.folder, 'host/web/privkey.pem')
  await until('the certificate of the host', () => existsSync(hostKey))
  const installed = readFileSync(join(parts.folder, 'host/web/fullchain.pem'), 'utf8')

  const pids = Object.fromEntries([
    ['launcher', parts.launcherPid],
    ...parts.processes().flatMap(({ name, pid }) => (name === 'server' ? [] : [[name, pid]])),
  ])
  // What is root is no more than it must be, either.
  const standing = parseStanding(readFileSync(`/proc/${parts.pidOf('installer')}/status`, 'utf8'))
  const capabilities = ['chown', 'dac_override', 'fowner', 'kill'] as const
  assert.deepEqual(findFlaws(standing, { uid: 0, gid: 0, capabilities }), [])
  assert.deepEqual([...standing.capabilities.effective], capabilities)
  const ofFirewall = parseStanding(readFileSync(`/proc/${parts.pidOf('firewall')}/status`, 'utf8'))
  assert.deepEqual(findFlaws(ofFirewall, { uid: 0, gid: 0, capabilities: ['net_admin', 'net_raw'] }), [])
  for (const name of ['installer', 'firewall']) assert.deepEqual(foreignOf(parts.pidOf(name)), [], name)
  const place = {
    ...{ folder: parts.folder, run: parts.runFolder, accountUrl, origin: new URL(pebble.directoryUrl).origin },
    ...{ keyPath: join(parts.folder, 'key/account.pem'), pids, hostKey, otherChain: other.text },
  }
  const logged = parts.logLines().length
  const run = runAs(users.server, process.execPath, [intruder, JSON.stringify(place)])
  assert.equal(run.status, 0, run.stderr)
  const { 'an order for a name of the list': usual, ...outcomes } = JSON.parse(run.stdout) as Record<string, string>
  assert.match(usual ?? '', /^GOT [\w-]{40}/)
  assert.deepEqual(
    Object.entries(outcomes).filter(([, outcome]) => !/^(refused|EACCES|EPERM)$/.test(outcome)),
    [],
  )
  assert.equal(Object.keys(outcomes).length, 46)

  // What was asked of accountd is in its log, with the reason, and in the chained audit log, which is whole.
  const log = parts.log()
  for (const why of [
    /NOSIGN \[[^\]]*\].*evil@evil\.example/,
    /NOSIGN \[[^\]]*\].*"status":"deactivated"/,
    /NOSIGN \[[^\]]*\].*"Status":"deactivated"/,
    /NOSIGN \[[^\]]*\].*rollover-account-key/,
    /NOSIGN \[.*evil\.example.* is not among the names\]/,
    /NOSIGN \[.*\*\.test.* is not among the names\]/,
    /NOSIGN \[it is not for the CA's address\].*evil\.example/,
    /NOSIGN \[(malformed|invalid) JWS/,
  ])
    assert.match(log, why)
  const refusals = readFileSync(join(parts.folder, audit), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"NOSIGN"'))
  assert.equal(refusals.length, log.split('NOSIGN').length - 1)
  assert.equal(spawnSync(process.execPath, [main, 'accountd', 'check-audit', join(parts.folder, audit)]).status, 0)

  // So is what was asked of the installer, and of the firewall.
  const expected = [
    ['key', 'web'],
    ['install', '../../etc/shadow'],
    ...Array.from({ length: 3 }, () => ['install', 'web']),
    ['hook', 'web'],
    ['open', 22],
    ['open', undefined],
    ['open', -1],
  ]
  // Each tells its own in their order; who of the two writes first is not known.
  const refusedElsewhere = () => {
    const lines = parts.logLines().slice(logged)
    // What the server asked for itself is noted late, too.
    const refusals = lines.filter(({ msg, port }) => msg === 'refused, or it failed' && port !== pebble.httpPort)
    return [...refusals.filter(({ ask }) => ask !== 'open'), ...refusals.filter(({ ask }) => ask === 'open')]
  }
  await until('all refusals are in the log', () => refusedElsewhere().length >= expected.length)
  assert.deepEqual(
    refusedElsewhere().map(({ ask, certificate, port }) => [ask, certificate ?? port]),
    expected,
  )

  // Nothing of it has changed anything.
  assert.equal(readFileSync(join(parts.folder, 'host/web/fullchain.pem'), 'utf8'), installed)
  assert.deepEqual(
    parts.processes().filter(({ pid }) => Object.values(pids).includes(pid)).length,
    Object.keys(pids).length - 1,
  )
  assert.equal(await sign('after.test'), 200)
  const refused = await sign('www.evil.example')
  assert.ok(refused >= 400, String(refused))
})
