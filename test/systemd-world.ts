// A systemd of its own as PID 1 of a copy of this system: what is written goes to a folder laid over it, nobody hears of
// it on the network, the kernel's settings cannot be changed, and every process of it ends with it.
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeTempFolder, startChild, waitUntilReady } from './peers/child.ts'

const systemd = '/lib/systemd/systemd'
const path = '/usr/sbin:/usr/bin:/sbin:/bin'

/** Of all that this machine would start only what others need: the journal, the folders, D-Bus. */
const copy = `
set -eu
over=$1
root=$over/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$over/upper,workdir=$over/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
for stream in 0stdin 1stdout 2stderr; do ln -s "/proc/self/fd/\${stream%std*}" "$root/dev/\${stream#?}"; done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" && ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
ip link set lo up 2>/dev/null || busybox ip link set lo up
units=$root/lib/systemd/system
for wants in "$root"/etc/systemd/system/*.wants "$units"/*.wants; do rm -rf "$wants"; done
rm -rf "$root/lib/systemd/system-generators" "$root/usr/local/lib/systemd/system-generators"
mkdir "$units/sysinit.target.wants"
for unit in systemd-journald.service systemd-tmpfiles-setup.service; do
  ln -s "../$unit" "$units/sysinit.target.wants/$unit"
done
printf '[Unit]\\nRequires=basic.target dbus.socket\\nAfter=basic.target dbus.socket\\n' >"$units/acmems-test.target"
# Of acmems itself nothing is there, whatever this machine has.
rm -rf "$root"/etc/acmems "$root"/var/lib/acmems* "$root"/var/log/acmems* "$root"/etc/dpkg/dpkg.cfg.d/*
# The index of every manual page there is takes longer than all else.
rm -f "$root/var/lib/man-db/auto-update"
rm -f "$root/etc/machine-id" && touch "$root/etc/machine-id"
cd "$root"
mkdir -p old
pivot_root . old
mount -o bind,ro /proc/sys /proc/sys
exec chroot . sh -c 'umount -l /old && mount --make-rshared / && exec env -i container=other PATH=${path} \\
  ${systemd} --system --unit=acmems-test.target --log-target=journal --show-status=no'
`

export type Ran = { readonly status: number | null; readonly stdout: string; readonly stderr: string }

/** Its PID 1, seen from here; or why there is none. */
export type Machine = AsyncDisposable & ({ readonly pid: number } | { readonly reason: string })

/** In all of the machine's namespaces, as root. */
export function runIn(pid: number, command: string, input = ''): Ran {
  const env = { PATH: path, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', SYSTEMD_PAGER: '' }
  const words = ['--all', `--target=${pid}`, 'sh', '-c', command]
  const { status, stdout, stderr } = spawnSync('nsenter', words, { encoding: 'utf8', env, input, timeout: 60_000 })
  return { status, stdout, stderr }
}

/** A control group below our own, in the hierarchy of version 2: systemd is content with one without controllers. */
function makeControlGroup(name: string): string {
  const mount = /^\S+ \S+ \S+ \/ (\S+) [^-]*- cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))?.[1]
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
  if (mount === undefined || own === undefined) throw new Error('no control groups of version 2 are mounted here')
  const folder = join(mount, own, name)
  mkdirSync(folder)
  return folder
}

async function removeControlGroup(folder: string): Promise<void> {
  for (let round = 0; round < 100 && existsSync(folder); round++) {
    const below = globSync('**/', { cwd: folder }).sort((left, right) => right.length - left.length)
    try {
      for (const one of [...below, '']) rmdirSync(join(folder, one))
    } catch {
      // The kernel is still taking leave of the processes.
      await sleep(20)
    }
  }
}

function without(reason: string): Machine {
  return { reason, [Symbol.asyncDispose]: async () => undefined }
}

export async function bootSystemd(): Promise<Machine> {
  if (process.getuid?.() !== 0) return without('only root may make a machine')
  if (!existsSync(systemd)) return without(`no ${systemd} on this machine`)
  try {
    return await boot()
  } catch (error) {
    return without(error instanceof Error ? error.message : String(error))
  }
}

async function boot(): Promise<Machine> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('machine')).path
  for (const name of ['upper', 'work', 'root']) mkdirSync(join(folder, name))
  const group = makeControlGroup(`acmems-test-${process.pid}`)
  cleanup.defer(() => removeControlGroup(group))
  const script = join(folder, 'copy.sh')
  writeFileSync(script, copy)
  const flags = ['--pid', '--fork', '--kill-child', '--mount', '--uts', '--ipc', '--net', '--cgroup']
  const enter = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
  const args = ['-c', enter, 'sh', group, 'unshare', ...flags, 'sh', script, folder]
  const child = cleanup.use(startChild('sh', args, { cwd: '/', env: { PATH: path }, logFile: join(folder, 'log') }))
  const findPid = () => Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim())
  cleanup.defer(() => {
    // unshare(1) itself does not hear SIGTERM.
    if (!child.hasEnded()) process.kill(findPid(), 'SIGKILL')
  })
  await waitUntilReady(child, 'systemd', async () => {
    const pid = findPid()
    return pid > 0 && runIn(pid, 'systemctl is-active acmems-test.target').stdout === 'active\n'
  })
  const pid = findPid()
  const owned = cleanup.move()
  return { pid, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
