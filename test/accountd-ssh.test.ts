// The account key on another host: a forced command behind a real sshd, and sockets that ssh forwards, both ways.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { main, makeKeyFolder, ourAccountd, startHolder } from './accountd-world.ts'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { runLacme, serveChallenges, writeLacmeCertificate, writeLacmeConfig } from './lacme-world.ts'
import { startChild, waitUntilReady } from './peers/child.ts'
import { type Pebble, startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'
import { startSshd } from './sshd-world.ts'

async function getsCertificate(pebble: Pebble, key: string): Promise<void> {
  const account = accountAndHttp01(pebble).replace('[verification', `key = ${key}\n[verification`)
  await using acmems = await startAcmems(`${account}[auth "web"]\nip = 127.0.0.1\ndomain = **.example.org\n`)
  const answer = await postCsr(acmems.signUrl, makeCsr({ names: ['ssh.example.org'] }))
  assert.equal(answer.status, 200, answer.text + acmems.log())
  assert.deepEqual(namesOf(certificatesOf(answer.text)[0]), ['DNS:ssh.example.org'])
}

/** lacme as it is, with the key behind the socket, or where [accountd] says; the key has an account already. */
async function lacmeGetsCertificate(folder: string, pebble: Pebble, socket: string, accountd = ''): Promise<void> {
  const config = await writeLacmeConfig(folder, pebble, socket, accountd)
  await using _web = await serveChallenges(join(folder, 'challenges'), pebble.httpPort)
  const chain = writeLacmeCertificate(folder, 'lacme.example.org')
  const { code, out, err } = await runLacme([`--config=${config}`, 'newOrder'])
  assert.equal(code, 0, out + err)
  assert.deepEqual(namesOf(certificatesOf(readFileSync(chain, 'utf8'))[0]), ['DNS:lacme.example.org'])
}

const hasLacme = (t: TestContext) => (['perl', 'lacme'] as const).every((name) => requirePeer(t, name) !== undefined)

test('by a forced command of sshd: that, and nothing else', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  using folder = makeKeyFolder('ssh-forced', 'P-256')
  const config = join(folder.path, 'accountd.conf')
  writeFileSync(config, `privkey = file:${folder.keyFile}\nlogfile = ${folder.path}/log\n`)
  const forced = `restrict,command="${process.execPath} ${main} accountd --stdio --quiet --config=${config}" `
  await using sshd = await startSshd(t, folder.path, forced)
  if (sshd === undefined) return
  // lacme tries no nonce twice.
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
  await getsCertificate(pebble, `exec:ssh -T -F ${sshd.configFile} keys acmems accountd --stdio`)
  assert.match(readFileSync(join(folder.path, 'log'), 'utf8'), /SIGNED header=.*ssh\.example\.org/)
  const shell = spawnSync('ssh', ['-F', sshd.configFile, '-T', 'keys', 'id'], { encoding: 'utf8', input: '' })
  assert.match(shell.stdout, /^1 OK \{"alg":"ES256"/)
  assert.doesNotMatch(shell.stdout, /uid=/)
  const command = `ssh -T -F ${sshd.configFile} keys acmems accountd`
  const section = `[accountd]\nuser =\ngroup =\ncommand = ${command}\nconfig =\nquiet = Yes\n`
  if (hasLacme(t)) await lacmeGetsCertificate(folder.path, pebble, folder.socket, section)
})

test('through sockets that ssh forwards, -R and -L', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  using folder = makeKeyFolder('ssh-forward')
  await using sshd = await startSshd(t, folder.path, '')
  if (sshd === undefined) return
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
  await using holder = await startHolder(ourAccountd, folder.path, `privkey = file:${folder.keyFile}\n`)
  for (const flag of ['-R', '-L']) {
    const forwarded = join(folder.path, `S${flag}`)
    await using ssh = startChild('ssh', ['-F', sshd.configFile, '-N', flag, `${forwarded}:${holder.socket}`, 'keys'], {
      cwd: folder.path,
      env: {},
      logFile: join(folder.path, `ssh${flag}.log`),
    })
    await waitUntilReady(ssh, 'ssh', async () => existsSync(forwarded))
    await getsCertificate(pebble, `accountd:${forwarded}`)
    if (flag === '-R' && hasLacme(t)) await lacmeGetsCertificate(folder.path, pebble, forwarded)
  }
})
