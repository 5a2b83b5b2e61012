import { Command } from 'commander'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { openDesk } from './open-installation.ts'
import { formatTable, formatTime, isoTime, printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean }

/** Enough to tell tokens apart; the digest of one is no secret. */
export const tokenIdLength = 12

export function enrollListCommand(): Command {
  return withConfigFlags(new Command('list'))
    .summary('list enrolled keys, and tokens that nobody used yet')
    .description('List the keys that were enrolled, and the tokens that nobody used yet.')
    .argument('[config...]', 'configuration files')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems enroll list /etc/acmems/acmems.ini\n  acmems enroll list --json /etc/acmems/acmems.ini',
    )
    .action(listEnrolments)
}

async function listEnrolments(files: string[], _flags: Flags, command: Command): Promise<void> {
  // The command above has options of the same names, which take what stands behind both.
  const flags: Flags = command.optsWithGlobals()
  await using desk = await openDesk(files, flags)
  const keys = await desk.state.enrolments.listKeys()
  const tokens = await desk.state.enrolments.listTokens(desk.clock.nowMs())
  if (flags.json) {
    printJson({
      keys: keys.map(({ keyId, block, label, createdAtMs, revokedAtMs }) => ({
        ...{ keyId, block, label, enrolledAt: isoTime(createdAtMs), revokedAt: isoTime(revokedAtMs) },
      })),
      tokens: tokens.map(({ tokenHash, block, label, createdAtMs, expiresAtMs }) => ({
        id: tokenHash.slice(0, tokenIdLength),
        ...{ block, label, createdAt: isoTime(createdAtMs), expiresAt: isoTime(expiresAtMs) },
      })),
    })
    return
  }
  if (keys.length + tokens.length === 0) {
    process.stdout.write('no keys, and no tokens\n')
    return
  }
  process.stdout.write(
    formatTable(
      ['ID', 'BLOCK', 'LABEL', 'SINCE', 'STATE'],
      [
        ...keys.map((key) => [
          key.keyId,
          key.block,
          key.label ?? '',
          formatTime(key.createdAtMs),
          key.revokedAtMs === undefined ? 'enrolled' : `revoked ${formatTime(key.revokedAtMs)}`,
        ]),
        ...tokens.map((token) => [
          token.tokenHash.slice(0, tokenIdLength),
          token.block,
          token.label ?? '',
          formatTime(token.createdAtMs),
          `token, good until ${formatTime(token.expiresAtMs)}`,
        ]),
      ],
    ),
  )
}
