// A real sshd on loopback that lets one key in, for one command or for forwarded sockets.
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { acceptsTcp, type Child, startChild, waitUntilReady } from './peers/child.ts'
import { freePort, requirePeer } from './peers/peers.ts'

export interface Sshd extends AsyncDisposable {
  /** For `ssh -F`: the host is named `keys`. */
  readonly configFile: string
  readonly child: Child
}

/**
 * @param options what stands before the key in authorized_keys: `restrict,command="…"`
 * @returns undefined: the test was skipped, with the reason
 */
export async function startSshd(t: TestContext, folder: string, options: string): Promise<Sshd | undefined> {
  const sshd = requirePeer(t, 'sshd')
  if (sshd === undefined) return undefined
  if (spawnSync('ssh', ['-V']).error !== undefined) return skip(t, 'there is no ssh here')
  const own = join(folder, 'ssh')
  mkdirSync(own, { mode: 0o700 })
  for (const name of ['host', 'user'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(own, name)])
  const port = await freePort()
  const me = userInfo()
  writeFileSync(join(own, 'authorized_keys'), `${options}${readFileSync(join(own, 'user.pub'), 'utf8')}`, {
    mode: 0o600,
  })
  const settings = [
    ...[`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${join(own, 'host')}`, 'PidFile none', 'UsePAM no'],
    ...[`AuthorizedKeysFile ${join(own, 'authorized_keys')}`, 'StrictModes no', 'PermitRootLogin yes', 'UseDNS no'],
    ...['StreamLocalBindUnlink yes', 'AllowStreamLocalForwarding yes', 'PasswordAuthentication no'],
  ]
  writeFileSync(join(own, 'sshd_config'), `${settings.join('\n')}\n`)
  writeFileSync(join(own, 'known_hosts'), `[127.0.0.1]:${port} ${readFileSync(join(own, 'host.pub'), 'utf8')}`)
  const configFile = join(own, 'ssh_config')
  writeFileSync(
    configFile,
    `Host keys\n  HostName 127.0.0.1\n  Port ${port}\n  User ${me.username}\n  IdentityFile ${join(own, 'user')}\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile ${join(own, 'known_hosts')}\n  GlobalKnownHostsFile /dev/null\n  BatchMode yes\n  ExitOnForwardFailure yes\n  StreamLocalBindUnlink yes\n`,
  )
  chmodSync(configFile, 0o600)
  const command = [sshd.path, '-D', '-e', '-f', join(own, 'sshd_config')]
  const [program = '', ...args] = me.uid === 0 ? withPrivilegeSeparation(own, command) : command
  const child = startChild(program, args, {
    cwd: own,
    env: sshd.env,
    logFile: join(own, 'sshd.log'),
  })
  try {
    await waitUntilReady(child, 'sshd', () => acceptsTcp(port))
    execFileSync('ssh', ['-F', configFile, '-T', 'keys', 'true'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 20_000,
    })
  } catch (error) {
    await child.stop()
    return skip(t, `sshd does not let us in here: ${String(error).slice(0, 300)} ${child.log().slice(-300)}`)
  }
  return { configFile, child, [Symbol.asyncDispose]: () => child.stop() }
}

/** As root it wants a user `sshd` and /run/sshd: in a mount namespace of its own it has both. */
function withPrivilegeSeparation(folder: string, command: readonly string[]): string[] {
  const passwd = readFileSync('/etc/passwd', 'utf8')
  const file = join(folder, 'passwd')
  writeFileSync(file, /^sshd:/m.test(passwd) ? passwd : `${passwd}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n`)
  const script =
    'mount --bind "$1" /etc/passwd && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && shift && exec "$@"'
  return ['unshare', '-m', 'sh', '-c', script, 'sh', file, ...command]
}

function skip(t: TestContext, reason: string): undefined {
  t.skip(reason)
  return undefined
}
