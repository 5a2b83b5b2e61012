import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { serveStdio, startAccountd } from '../accountd/accountd.ts'
import { createJournal, type Journal, type Level } from '../accountd/journal.ts'
import { openHeldKey } from '../accountd/key.ts'
import { type AccountdSettings, readSettings } from '../accountd/settings.ts'
import { ownRights } from '../channel/permissions.ts'
import { systemClock } from '../clock.ts'
import { environment } from '../config/environment.ts'
import type { Runner } from '../lacme/specifiers.ts'
import { createSystemdNotifier } from '../systemd-notify.ts'
import { auditCheckCommand } from './accountd-audit.ts'
import { askPassphrase } from './passphrase.ts'
import { stopSignal } from './stop-signal.ts'
import { whoWeAre } from './who-we-are.ts'

type Flags = {
  readonly config?: string
  readonly privkey?: string
  readonly socket?: string
  readonly socketMode?: string
  readonly stdio: boolean
  readonly quiet?: boolean
  readonly debug?: boolean
}

/** `acmems accountd`, in the place of lacme-accountd. */
export function accountdCommand(): Command {
  return new Command('accountd')
    .summary('hold the account key in a process of its own, and sign with it')
    .description(
      "Hold an account key and sign for others, by lacme-accountd's protocol: on a UNIX socket, or with --stdio for one\npeer at the other end of ssh. Options and configuration file are lacme-accountd's; ours may say more.\nSIGTERM and SIGINT end it, SIGHUP opens its log and audit log anew.",
    )
    .option('--config <file>', 'configuration file (default: %E/lacme/lacme-accountd.conf, if it is there)')
    .option('--privkey <arg>', 'the key: file:PATH, gpg:PATH or ssh-agent:[SOCKET/]KEY')
    .option('--socket <path>', 'where to listen, or fd:3 (default: %t/S.lacme)')
    .option('--socket-mode <mode>', '0600, or 0660 for the group of its folder, over the file')
    .option('--stdio', 'serve standard input and output, and end with them', false)
    .option('-q, --quiet', 'say less')
    .option('--debug', 'say more')
    .addCommand(auditCheckCommand())
    .addHelpText(
      'after',
      '\nExamples:\n  acmems accountd --privkey file:/var/lib/acmems-accountd/account.pem --socket /run/acmems-accountd/S.lacme\n  acmems accountd --config /etc/acmems/accountd.conf\n  ssh -T keys.example.org acmems accountd --stdio\n  acmems accountd check-audit /var/log/acmems-accountd/audit.log',
    )
    .action((flags: Flags) => runAccountd(flags))
}

async function runAccountd(flags: Flags): Promise<void> {
  const runner = whoWeAre()
  const settings = readSettings(flags, runner)
  const level: Level = { quiet: 'always', usual: 'usual', debug: 'debug' }[settings.verbosity] as Level
  // Whoever reads standard error may be gone; that ends nothing.
  process.stderr.on('error', () => undefined)
  const toStderr = (text: string) => void process.stderr.write(text)
  using journal = createJournal(level, settings.logFile, () => systemClock.nowMs(), toStderr)
  try {
    await run(settings, flags.stdio, runner, journal)
  } catch (error) {
    // It is said where lacme-accountd says it, too; standard error gets it from whoever called us.
    using quiet = createJournal(
      'always',
      settings.logFile,
      () => systemClock.nowMs(),
      () => undefined,
    )
    quiet.say('always', `Error: ${error instanceof Error ? error.message : String(error)}`)
    throw error
  }
}

async function run(settings: AccountdSettings, isStdio: boolean, runner: Runner, journal: Journal): Promise<void> {
  journal.say('debug', `Using configuration file: ${settings.origin}`)
  if (settings.warning !== undefined) journal.say('always', `Warning: ${settings.warning}`)
  const who = ownRights()
  if (runner.uid === 0 && !isStdio)
    journal.say('usual', 'Warning: root holds the account key; give it a user of its own (see docs/accountd.md)')
  const ended = new AbortController()
  const key = await openHeldKey(settings, { who, environment, signal: ended.signal, askPassphrase })
  const socketGid = settings.socketGroup === undefined ? undefined : gidOf(settings.socketGroup)
  const parts = { key, journal, clock: systemClock, who, socketGid }
  if (isStdio && (settings.rate ?? settings.orderRate) !== undefined)
    journal.say(
      'usual',
      'Warning: with --stdio, rate and order-rate are of this connection alone, and the next one begins anew; at a socket they are of all (see docs/accountd.md)',
    )
  if (isStdio) {
    process.once('SIGHUP', () => process.exit(0))
    process.stdout.on('error', () => process.exit(0))
    await serveStdio(settings, parts, process.stdin, process.stdout)
    return
  }
  const stopped = stopSignal()
  const systemd = createSystemdNotifier(environment, {
    debug: () => undefined,
    info: () => undefined,
    warn: (message) => journal.say('always', message),
    error: (message) => journal.say('always', message),
  })
  await using accountd = await startAccountd(settings, parts)
  process.on('SIGHUP', () => accountd.reopen())
  systemd.ready()
  await stopped
  systemd.stopping()
  ended.abort()
}

function gidOf(group: string): number {
  if (/^\d+$/.test(group)) return Number(group)
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${group}:`))
  if (line === undefined) throw new Error(`socket-group = ${group}: there is no such group`)
  return Number(line.split(':')[2])
}
