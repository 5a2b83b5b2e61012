// The Debian package: the same octets every time, complete, and what dpkg makes of it in a copy of this system.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import packageJson from '../package.json' with { type: 'json' }
import { buildDeb } from '../scripts/build-deb.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { checkout } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { acceptsTcp, makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const nobody = 65534
const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? ''
const isRoot = process.getuid?.() === 0

function whyNotBuilt(): string | undefined {
  if (spawnSync('dpkg-deb', ['--version']).error !== undefined) return 'dpkg-deb is not on this machine'
  if (!existsSync(join(checkout, 'node_modules', `node-linux-${process.arch}`))) return 'its Node.js is not installed'
  return undefined
}

test('the Debian package', async (t) => {
  const reason = whyNotBuilt()
  if (reason !== undefined) return t.skip(reason)
  using temp = makeTempFolder('deb')
  const options = { architecture, epochS: 1_790_000_000, compression: 'none' } as const
  const deb = await buildDeb({ ...options, outdir: join(temp.path, 'first') })
  const unpacked = join(temp.path, 'unpacked')
  execFileSync('dpkg-deb', ['-x', deb, unpacked])

  await t.test('is the same when it is built again, whatever the umask', async () => {
    const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')
    const former = process.umask(0o077)
    try {
      assert.equal(digest(await buildDeb({ ...options, outdir: join(temp.path, 'second') })), digest(deb))
    } finally {
      process.umask(former)
    }
  })

  await t.test('says what it is, and belongs to root', () => {
    const field = (name: string) => execFileSync('dpkg-deb', ['-f', deb, name], { encoding: 'utf8' }).trim()
    assert.equal(field('Version'), `${packageJson.version}-1`)
    assert.equal(field('Architecture'), architecture)
    assert.match(field('Maintainer'), /^[^<>@]+ <[^<>\s]+>$/)
    const contents = execFileSync('dpkg-deb', ['--contents', deb], { encoding: 'utf8' }).trim().split('\n')
    for (const line of contents)
      assert.match(line, /^(d|-|l)(rwxr-xr-x|rw-r--r--|rwxrwxrwx) root\/root +\d+ 2026-09-21 /)
    for (const line of contents.filter((one) => !one.startsWith('l'))) assert.doesNotMatch(line, /^.......w|^........w/)
  })

  await t.test('has program, units, manuals and texts, and nothing of this machine', () => {
    const paths = [
      'etc/acmems/acmems.ini',
      'usr/bin/acmems',
      'usr/bin/acmems-agent.sh',
      'usr/bin/acme-register',
      'usr/sbin/acmems-install',
      'usr/lib/systemd/system/acmems.service',
      'usr/lib/sysusers.d/acmems.conf',
      'usr/lib/tmpfiles.d/acmems.conf',
      'usr/share/man/man1/acmems.1.gz',
      'usr/share/man/man1/acmems-agent.sh.1.gz',
      'usr/share/man/man8/acmems-install.8.gz',
      'usr/share/man/man5/acmems.ini.5.gz',
      'usr/share/doc/acmems/copyright',
      'usr/share/doc/acmems/changelog.Debian.gz',
      'usr/share/doc/acmems/docs/install.md',
    ]
    for (const path of paths) assert.ok(existsSync(join(unpacked, path)), path)
    const copyright = readFileSync(join(unpacked, 'usr/share/doc/acmems/copyright'), 'utf8')
    for (const holder of ['the acmems authors', 'undici', 'Node.js contributors'])
      assert.ok(copyright.includes(holder), holder)
    assert.ok(!readlinkSync(join(unpacked, 'usr/bin/acmems')).startsWith('/'))
    const files = globSync('**/*', { cwd: unpacked }).map((file) => join(unpacked, file))
    for (const file of files.filter((one) => statSync(one).isFile() && !one.endsWith('/node')))
      assert.ok(!readFileSync(file, 'latin1').includes(`${checkout}/`), `${file} names the checkout`)
  })

  await t.test('serves hosts from where it was unpacked, as a user who owns nothing', async (t) => {
    if (!requirePeer(t, 'openssl')) return
    await serveFrom(unpacked, temp.path)
  })

  await t.test('dpkg installs, upgrades, removes and purges it', (t) => {
    const output = installInCopy(t, deb, temp.path)
    if (output !== undefined) assert.match(output, /\nall is as it should be\n$/)
  })
})

async function serveFrom(root: string, folder: string): Promise<void> {
  const port = await freePort()
  const state = join(folder, 'state')
  mkdirSync(state, { mode: 0o700 })
  if (isRoot) chownSync(state, nobody, nobody)
  const config = join(folder, 'acmems.ini')
  writeFileSync(
    config,
    `[mgmt]\nlistener = 127.0.0.1:${port}\n[account]\ntype = local\n[auth "lab"]\nip = 127.0.0.1\ndomain = *.lab.test\n`,
  )
  // None of Node.js' own in its PATH: it has its own.
  const env = { PATH: '/usr/bin:/bin', STATE_DIRECTORY: state }
  await using child = startChild(join(root, 'usr/bin/acmems'), ['serve', config], {
    cwd: '/',
    env,
    logFile: join(folder, 'log'),
    ...(isRoot ? { uid: nobody, gid: nobody } : {}),
  })
  await waitUntilReady(child, 'acmems', () => acceptsTcp(port))
  const reply = await postCsr(`http://127.0.0.1:${port}/sign`, makeCsr({ names: ['deb.lab.test'] }))
  assert.equal(reply.status, 200, reply.text + child.log())
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), ['DNS:deb.lab.test'])
  const script = await (await fetch(`http://127.0.0.1:${port}/agent.sh`)).text()
  assert.equal(script, readFileSync(join(checkout, 'agent/agent.sh'), 'utf8'))
  process.kill(child.pid, 'SIGTERM')
  await waitUntilReady(child, 'the end', async () => /"msg":"stopped"/.test(child.log()))
  assert.doesNotMatch(child.log(), /Warning/)
}

/**
 * In namespaces of its own: what is written goes to a folder laid over this system, which itself stays as it is; nobody
 * hears of it on the network, and every process of it ends with it.
 */
function installInCopy(t: TestContext, deb: string, folder: string): string | undefined {
  const script = join(folder, 'install.sh')
  writeFileSync(script, insideCopy)
  for (const name of ['upper', 'work', 'root']) mkdirSync(join(folder, 'overlay', name), { recursive: true })
  const over = join(folder, 'overlay')
  const args = ['-m', '-p', '-n', '-i', '-f', '--kill-child', 'sh', '-c', makeCopy, 'sh', over, deb, script]
  const { status, stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 120_000 })
  if (status === 77 || stderr.startsWith('unshare:')) {
    t.skip(`no copy of this system can be made here: ${stderr.trim().split('\n').at(-1)}`)
    return undefined
  }
  assert.equal(status, 0, stdout + stderr)
  return stdout
}

const makeCopy = `
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" || exit 77
mount -t proc proc "$1/root/proc" && mount --rbind /dev "$1/root/dev" && mount -t tmpfs tmpfs "$1/root/run" || exit 77
[ -x "$1/root/usr/bin/dpkg" ] || { echo dpkg is not on this machine >&2; exit 77; }
mkdir -p "$1/root/srv" && cp "$2" "$1/root/srv/acmems.deb" && cp "$3" "$1/root/srv/install.sh"
ip link set lo up 2>/dev/null || busybox ip link set lo up 2>/dev/null
exec chroot "$1/root" sh /srv/install.sh
`

/** A failure of any line is one of the test. */
const insideCopy = `
set -eux
exec 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C
# In case that whoever made this machine left out documents.
mkdir -p /etc/dpkg/dpkg.cfg.d && rm -f /etc/dpkg/dpkg.cfg.d/*
# The index of every manual page there is takes longer than all else.
rm -f /var/lib/man-db/auto-update
if id acmems; then exit 1; fi
dpkg --install /srv/acmems.deb
[ "$(dpkg-query -W -f '\${Status}' acmems)" = 'install ok installed' ]
dpkg --verify acmems
id acmems
[ "$(stat -c '%U:%G %a' /etc/acmems)" = 'root:acmems 2750' ]
[ "$(stat -c '%U:%G %a' /etc/acmems/acmems.ini)" = 'root:acmems 640' ]
acmems --version
acmems check-config /etc/acmems/acmems.ini
man -w acmems && man -w acmems.ini && man -w acmems-agent && man -w acmems-accountd && man -w agent.sh && man -w acmems-agent.sh
acmems-agent.sh --help | grep -q Usage
runuser -u acmems -- acmems check-config /etc/acmems/acmems.ini
if runuser -u nobody -- cat /etc/acmems/acmems.ini; then exit 1; fi
# A first configuration takes the place of one that says nothing, and the server's user can read it.
acmems init --server-name acmems.example.org --yes
[ "$(stat -c '%U:%G %a' /etc/acmems/acmems.ini)" = 'root:acmems 640' ]
runuser -u acmems -- acmems check-config /etc/acmems/acmems.ini
grep -q acmems.example.org /etc/acmems/acmems.ini
if acmems init --server-name other.example.org --yes; then exit 1; fi
# The account key in a process of its own: the server's user comes to the socket, and not to the key.
cp /usr/share/doc/acmems/examples/accountd.conf /etc/acmems/accountd.conf
key=/var/lib/acmems-accountd/account.pem
runuser -u acmems-accountd -- sh -c "umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $key"
# As its unit does.
mkdir -p -m 750 /var/log/acmems-accountd && chown acmems-accountd:acmems-accountd /var/log/acmems-accountd
install -D -o acmems-accountd -m 400 /etc/acmems/accountd.conf /run/credentials/accountd.conf
NODE_OPTIONS=--jitless setpriv --reuid acmems-accountd --regid acmems-accountd --clear-groups --no-new-privs \
  --bounding-set -all acmems accountd --config /run/credentials/accountd.conf &
accountd=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/acmems-accountd/S.lacme ] && break; sleep 1; done
[ "$(stat -c '%U:%G %a' /run/acmems-accountd/S.lacme)" = 'acmems-accountd:acmems 660' ]
if grep rwx /proc/$accountd/maps; then exit 1; fi
if runuser -u acmems -- cat $key; then exit 1; fi
greet="require('net').connect('/run/acmems-accountd/S.lacme').once('data', (text) => process.exit(/^1 OK/.test(text) ? 0 : 1)).on('error', () => process.exit(3))"
runuser -u acmems -- /usr/lib/acmems/node -e "$greet"
code=0; runuser -u nobody -- /usr/lib/acmems/node -e "$greet" || code=$?
[ $code = 3 ]
kill $accountd && wait $accountd
# What was written stays: through an upgrade, a removal and the next installation.
dpkg --install /srv/acmems.deb
grep -q acmems.example.org /etc/acmems/acmems.ini
systemctl enable acmems.service acmems-accountd.service acmems-renew.timer
[ -h /etc/systemd/system/multi-user.target.wants/acmems.service ]
mkdir -p /var/lib/acmems && echo key > /var/lib/acmems/key
# systemd is there and does not answer (its bus is away): the package can be had and removed nevertheless.
mkdir -p /run/systemd/system
if systemctl daemon-reload; then exit 1; fi
dpkg --install /srv/acmems.deb
dpkg --remove acmems
rmdir /run/systemd/system
[ ! -e /usr/lib/acmems ] && [ ! -e /usr/bin/acmems ]
[ -z "$(find /etc/systemd/system -name 'acmems*')" ]
grep -q acmems.example.org /etc/acmems/acmems.ini
dpkg --purge acmems
# What the package did not bring it does not take.
[ "$(ls /etc/acmems)" = accountd.conf ]
[ "$(cat /var/lib/acmems/key)" = key ]
{ set +x; } 2>/dev/null
echo all is as it should be
`

test('the configurations that the package brings can be used', async () => {
  const read = (name: string) => readFileSync(join(checkout, 'packaging/debian', name), 'utf8')
  const written = read('acmems.ini')
  const used = written.replace(/^#(?=\S)/gm, '')
  assert.match(used, /^\[auth "hosts"\]$/m)
  using folder = makeTempFolder('deb-ini')
  for (const [name, text] of [
    ['as it comes', written],
    ['with all settings', used],
    ...['agent.ini', 'certificates.ini'].map((file) => [file, read(file)]),
  ]) {
    const file = join(folder.path, 'acmems.ini')
    writeFileSync(file, text ?? '')
    const load = loadConfig({
      files: [file],
      environment: {},
      assignments: [],
      lenient: false,
      plugins: builtinPlugins,
    })
    await assert.doesNotReject(load, name)
  }
})
