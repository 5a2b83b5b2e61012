// Run by systemd-boot.test.ts in the network of a machine whose PID 1 is systemd: the package there, told what
// docs/install.md and docs/processes.md tell, and Pebble as its CA.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { acceptsTcp } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { needPeer } from './peers/peers.ts'
import { runIn } from './systemd-world.ts'
import { readSoFar, until } from './until.ts'

const pid = Number(process.argv[2])
const [deb = '', newerDeb = ''] = process.argv.slice(3)
const inside = (path: string) => `/proc/${pid}/root${path}`
const parts = ['acmems-accountd', 'acmems-install', 'acmems-responder', 'acmems-firewall', 'acmems']
const all = [...parts, 'acmems-install.socket', 'acmems-responder.socket']

/** @throws Error with all that was said, and what the units said meanwhile */
function run(command: string): string {
  const { status, stdout, stderr } = runIn(pid, command)
  if (status === 0) return stdout
  const journal = runIn(pid, "journalctl -o cat -n 60 -u 'acmems*'").stdout
  throw new Error(`${command}: ${status}\n${stdout}${stderr}\n${journal}`)
}

const show = (unit: string, property: string) => run(`systemctl show -P ${property} ${unit}`).trim()
const mainPid = (unit: string) => Number(show(unit, 'MainPID'))
const journalOf = (unit: string) => run(`journalctl -o cat -u '${unit}'`)
const states = (units: readonly string[]) =>
  runIn(pid, `systemctl is-active ${units.join(' ')}`)
    .stdout.trim()
    .split('\n')
const status = (unit: string) => readFileSync(inside(`/proc/${mainPid(unit)}/status`), 'utf8')

const patience = { logs: [{ log: () => journalOf('acmems*') }] }

const pebble = await startPebble({ httpPort: 80 })
after(() => pebble.stop())

const account = `[account]
acme-server = ${pebble.directoryUrl}
ca-file = /etc/acmems/pebble.pem
accept-terms-of-service = yes
`
const hosts = '[auth "hosts"]\nip = 127.0.0.1\ndomain = *.example.test\n'
const http = (...listeners: string[]) =>
  `[verification "http"]\ntype = http01\n${listeners.map((one) => `listener = ${one}\n`).join('')}`

async function sign(name: string): Promise<void> {
  const { status, text } = await postCsr('http://127.0.0.1:1313/sign', makeCsr({ names: [name] }))
  assert.equal(status, 200, `${text}\n${journalOf('acmems*')}`)
  assert.deepEqual(namesOf(certificatesOf(text)[0]), [`DNS:${name}`])
}

/** Debian has it; where this machine does not, the tests' own is copied with what it is linked to. */
function installNft(): void {
  const { path, env } = needPeer('nft')
  if (env.LD_LIBRARY_PATH === undefined) return
  const home = inside('/usr/local/lib/nft')
  mkdirSync(home)
  copyFileSync(path, join(home, 'nft'))
  const linked = execFileSync('ldd', [path], { env: { ...process.env, ...env }, encoding: 'utf8' })
  for (const [, library = ''] of linked.matchAll(/=> (\S+\/peers\/\S+)/g))
    copyFileSync(library, join(home, basename(library)))
  const script = `#!/bin/sh\nLD_LIBRARY_PATH=/usr/local/lib/nft exec /usr/local/lib/nft/nft "$@"\n`
  writeFileSync(inside('/usr/sbin/nft'), script, { mode: 0o755 })
}

let isBroken = false
/** One machine, one story: what comes after a failure would only say so again. */
function step(name: string, look: () => void | Promise<void>): void {
  test(name, async (t) => {
    if (isBroken) return t.skip('one before failed')
    isBroken = true
    await look()
    isBroken = false
  })
}

step('the package is installed; nothing is started', () => {
  copyFileSync(deb, inside('/srv/acmems.deb'))
  copyFileSync(newerDeb, inside('/srv/newer.deb'))
  run('dpkg --force-unsafe-io --install /srv/acmems.deb')
  assert.deepEqual(new Set(states([...all, 'acmems-renew.timer'])), new Set(['inactive']))
  copyFileSync(pebble.caFile, inside('/etc/acmems/pebble.pem'))
  installNft()
})

step('the server alone, at port 80 by its one capability, and by acmems.socket', async () => {
  writeFileSync(inside('/etc/acmems/acmems.ini'), account + hosts + http('0.0.0.0:80', '[::]:80'))
  run('systemctl enable --now acmems')
  await sign('capability.example.test')
  assert.match(status('acmems'), /^CapEff:\t0{13}400$/m)
  writeFileSync(inside('/etc/acmems/acmems.ini'), account + hosts + http('fd:3'))
  mkdirSync(inside('/run/systemd/system/acmems.service.d'))
  const none = '[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n'
  writeFileSync(inside('/run/systemd/system/acmems.service.d/none.conf'), none)
  run('systemctl daemon-reload && systemctl stop acmems')
  run('systemctl enable --now acmems.socket && systemctl start acmems')
  await sign('socket.example.test')
  assert.match(status('acmems'), /^CapBnd:\t0{16}$/m)
  run('rm -r /run/systemd/system/acmems.service.d && systemctl daemon-reload')
  run('systemctl disable --now acmems.socket acmems')
})

step('as root: renewal by its timer, and the agent', async () => {
  run('systemctl enable --now acmems-renew.timer')
  assert.match(show('acmems-renew.timer', 'NextElapseUSecRealtime'), /\d\d:\d\d:\d\d/)
  const ini = (name: string, state: string) =>
    `[state]\nurl = sqlite:/var/lib/${state}/state.db\n${account}${http('0.0.0.0:80')}[certificate "${name}"]
domain = ${name}.example.test\nverification = http\ndirectory = /etc/ssl/${name}\nhook = id -u >/etc/ssl/${name}.hooked\n`
  writeFileSync(inside('/etc/acmems/certificates.ini'), ini('own', 'acmems-renew'))
  run('systemctl start acmems-renew')
  assert.equal(run('cat /etc/ssl/own.hooked'), '0\n')
  writeFileSync(inside('/etc/acmems/agent.ini'), ini('agent', 'acmems-agent'))
  run('systemctl start acmems-agent')
  await until('its hook has run', () => runIn(pid, 'test -s /etc/ssl/agent.hooked').status === 0, patience)
  run('systemctl reload acmems-agent && systemctl stop acmems-agent')
  assert.equal(show('acmems-agent', 'Result'), 'success')
})

step('all parts: a certificate for a host, and one that is installed', async () => {
  const ini = `${account}key = accountd:/run/acmems-accountd/S.lacme\n${hosts}${http('0.0.0.0:80', '[::]:80')}
[process]
responder = /run/acmems-answers/S
installer = /run/acmems-install/S
firewall = /run/acmems-firewall/S

[certificate "web"]
domain = web.example.test
directory = /etc/ssl/web
owner = root:www-data
key-mode = 0640
ca-file = /etc/acmems/roots.pem
hook = id -u >/etc/ssl/web.hooked && systemctl show -P Id acmems >>/etc/ssl/web.hooked
`
  writeFileSync(inside('/etc/acmems/acmems.ini'), ini)
  writeFileSync(inside('/etc/acmems/roots.pem'), await pebble.root())
  const chain = 'chain input { type filter hook input priority 0; tcp dport 80 reject with tcp reset; };'
  run(`nft 'table inet filter { ${chain} }'`)
  const rules = run('nft list ruleset')
  for (const part of parts) {
    assert.equal(show(part, 'RestartUSec'), '5s', part)
    assert.match(show(part, 'Restart'), /^(on-failure|always)$/, part)
    // The test has less time.
    mkdirSync(inside(`/run/systemd/system/${part}.service.d`))
    const watchdogS = part === 'acmems-accountd' ? 5 : 10
    const quick = `[Service]\nWatchdogSec=${watchdogS}\nRestartSec=1\n`
    writeFileSync(inside(`/run/systemd/system/${part}.service.d/quick.conf`), quick)
  }
  run('systemctl daemon-reload')
  // What the example says at its beginning; docs/processes.md brings the key that the account has.
  const example = readFileSync(inside('/usr/share/doc/acmems/examples/accountd.conf'), 'utf8')
  run(/^# +(runuser -u acmems-accountd .*)$/m.exec(example)?.[1] ?? 'false')
  run('systemctl enable acmems && systemctl enable --now acmems-firewall')
  const registration = () => run('cat /var/lib/acmems/account/registration.json')
  const before = registration()
  run(`set -e\n${readSnippet('docs/processes.md', 'from one process to several')}`)
  assert.deepEqual(new Set(states(all)), new Set(['active']))
  await sign('host.example.test')
  assert.equal(registration(), before)
  const hooked = '0\nacmems.service\n'
  const told = () => readSoFar(inside('/etc/ssl/web.hooked'))
  await until('the hook has run', () => told().length >= hooked.length, patience)
  assert.equal(told(), hooked)
  assert.equal(run("stat -c '%U:%G %a' /etc/ssl/web/privkey.pem").trim(), 'root:www-data 640')
  run('openssl verify -CAfile /etc/acmems/roots.pem -untrusted /etc/ssl/web/chain.pem /etc/ssl/web/cert.pem')
  // It was opened, and is closed.
  await until('port 80 is closed', () => run('nft list ruleset') === rules, patience)
  assert.equal(await acceptsTcp(80), false)
  assert.doesNotMatch(journalOf('acmems*'), /is not opened/)
})

step('each is what its unit says, and doctor agrees', () => {
  for (const part of parts) {
    assert.equal(show(part, 'NoNewPrivileges'), 'yes', part)
    assert.equal(show(part, 'ProtectSystem'), 'strict', part)
    assert.match(status(part), /^NoNewPrivs:\t1\n(?:.*\n)*?Seccomp:\t2$/m, part)
    const runIts = (command: string) =>
      runIn(pid, `nsenter --mount --target=${mainPid(part)} sh -c '${command}'`).status
    assert.notEqual(runIts('touch /usr/written'), 0, part)
    assert.notEqual(runIts('touch /etc/acmems/written'), 0, part)
  }
  const networkOf = (unit: string) => statSync(inside(`/proc/${mainPid(unit)}/ns/net`)).ino
  for (const part of ['acmems-accountd', 'acmems-install']) assert.notEqual(networkOf(part), networkOf('acmems'), part)
  const reports = JSON.parse(run('acmems doctor --processes --json')) as {
    part: string
    user: string
    capabilities: { bounding: string[] }
    couldReach: { path: string }[]
  }[]
  const reaching = (path: string) =>
    reports.flatMap(({ part, couldReach }) => (couldReach.some((one) => one.path === path) ? [part] : [])).sort()
  assert.deepEqual(reaching('/var/lib/acmems-accountd/account.pem'), ['accountd'])
  assert.deepEqual(reaching('/var/lib/acmems/state.db'), ['server'])
  assert.deepEqual(reaching('/run/acmems-accountd/S.lacme'), ['accountd', 'server'])
  assert.deepEqual(reaching('/run/acmems-answers/S'), ['responder', 'server'])
  assert.deepEqual(reaching('/etc/shadow'), [])
  const found = reports.map(({ part, user, capabilities }) => [part, user, capabilities.bounding])
  assert.deepEqual(
    found.sort(([left], [right]) => (`${left}` < `${right}` ? -1 : 1)),
    [
      ['accountd', 'acmems-accountd', []],
      ['firewall', 'root', ['net_admin']],
      ['installer', 'root', ['chown', 'dac_override', 'fowner', 'kill']],
      ['responder', 'acmems-responder', []],
      ['server', 'acmems', ['net_bind_service']],
    ],
  )
})

step('reload: nobody is started anew', async () => {
  const before = parts.map(mainPid)
  run('systemctl reload acmems-accountd acmems-install acmems-firewall acmems')
  await until('it is read', () => journalOf('acmems').includes('configuration reloaded'), patience)
  // Each line has its level, and is whole: what is only informed of is no warning.
  assert.match(run('journalctl -o cat -p info -u acmems'), /^\{"level":"info",.*"configuration reloaded"\}$/m)
  assert.doesNotMatch(run('journalctl -o cat -p warning -u acmems'), /"level":"info"/)
  assert.deepEqual(parts.map(mainPid), before)
  await sign('reloaded.example.test')
})

step('whatever is killed, or does not move any more, is started again; a sign of life goes out in time', async () => {
  const fedAt = (part: string) => Number(show(part, 'WatchdogTimestampMonotonic'))
  const readyAt = (part: string) => Number(show(part, 'ActiveEnterTimestampMonotonic'))
  // In microseconds; to be ready is one, too.
  const isFed = (part: string) => fedAt(part) > readyAt(part) + 1_000_000
  await until('each has said that it lives', () => parts.every(isFed), patience)
  const before = parts.map(mainPid)
  const [accountd = 0, ...others] = before
  run(`kill -STOP ${accountd}; kill -KILL ${others.join(' ')}`)
  await until(
    'all are started anew',
    () => {
      const now = parts.map(mainPid)
      return now.every((id, at) => id > 0 && id !== before[at]) && states(all).every((state) => state === 'active')
    },
    patience,
  )
  assert.match(journalOf('acmems-accountd'), /Watchdog timeout/)
  await sign('killed.example.test')
})

step('an upgrade starts what runs anew, in order', async () => {
  const before = parts.map(mainPid)
  run('dpkg --force-unsafe-io --install /srv/newer.deb')
  assert.deepEqual(new Set(states(all)), new Set(['active']))
  assert.equal(states(['acmems-agent'])[0], 'inactive')
  for (const [at, part] of parts.entries()) assert.notEqual(mainPid(part), before[at], part)
  await sign('upgraded.example.test')
  const lines = run("journalctl -o cat -u 'acmems*'").split('\n')
  const last = (text: string) => lines.findLastIndex((line) => line.startsWith(text))
  for (const part of parts.slice(0, -1)) {
    assert.ok(last('Stopped acmems.service') < last(`Stopping ${part}.service`), `${part} ends after the server`)
    assert.ok(last(`Started ${part}.service`) < last('Starting acmems.service'), `${part} is there before the server`)
  }
})

step('the same started by root, without units', async () => {
  run(`systemctl stop ${all.join(' ')}`)
  assert.equal(run("pgrep -f '[/]usr/lib/acmems' || true"), '')
  const file = inside('/etc/acmems/acmems.ini')
  const ofUnits = readFileSync(file, 'utf8')
  const users = 'user-server = acmems\nuser-responder = acmems-responder\nuser-accountd = acmems-accountd\n'
  const launched = ofUnits
    .replace(/\nresponder = .*\ninstaller = .*\n/, `\n${users}`)
    .replaceAll(/\/run\/acmems-(accountd|firewall)\//g, '/run/acmems/$1/')
  writeFileSync(file, launched)
  run('systemd-run --quiet --unit=launched acmems serve /etc/acmems/acmems.ini')
  await until('it serves', () => acceptsTcp(1313), patience)
  await sign('launched.example.test')
  const reports = JSON.parse(run('acmems doctor --processes --json')) as { part: string }[]
  assert.deepEqual(reports.map(({ part }) => part).sort(), [
    'accountd',
    'firewall',
    'installer',
    'launcher',
    'responder',
    'server',
  ])
  run('systemctl stop launched')
  writeFileSync(file, ofUnits)
})

step('when the machine starts, all are there', async () => {
  assert.equal(run("pgrep -f '[/]usr/lib/acmems' || true"), '')
  // As it is then: the folder is empty, and filled before anything of ours begins.
  run('rm -r /run/acmems* && systemd-tmpfiles --create && systemctl start multi-user.target')
  assert.deepEqual(new Set(states(all)), new Set(['active']))
  await sign('started.example.test')
})

step('back to one process, and there again', async () => {
  const ini = readFileSync(inside('/etc/acmems/acmems.ini'), 'utf8')
  const alone = ini.replace(/^key = accountd:.*\n/m, '').replace(/^\[process\]\n(?:.+\n)+/m, '')
  writeFileSync(inside('/etc/acmems/acmems.ini'), alone.replace(/^\[certificate [\s\S]*/m, ''))
  run(`set -e\n${readSnippet('docs/processes.md', 'from several processes to one')}`)
  assert.deepEqual(states(['acmems', 'acmems-accountd', 'acmems-responder']), ['active', 'inactive', 'inactive'])
  run('systemctl stop acmems-firewall && nft flush ruleset')
  await sign('alone.example.test')
  writeFileSync(inside('/etc/acmems/acmems.ini'), ini)
  run(`set -e\n${readSnippet('docs/processes.md', 'from one process to several')}`)
  run('systemctl start acmems-firewall')
  await sign('again.example.test')
})

step('its removal stops all, and leaves nothing that runs', async () => {
  run('dpkg --remove acmems')
  assert.deepEqual(new Set(states([...all, 'acmems-renew.timer'])), new Set(['inactive']))
  assert.equal(run("pgrep -f '[/]usr/lib/acmems' || true"), '')
  assert.equal(run("find /run/acmems* /etc/systemd/system -type s -o -name 'acmems*' -type l"), '')
  assert.equal(await acceptsTcp(80), false)
  // What systemd could not do as its unit says, and what went wrong when they ended.
  assert.doesNotMatch(run('journalctl -o cat'), /systemd was not notified|Failed at step|[Uu]nknown lvalue|core-dump/)
})
