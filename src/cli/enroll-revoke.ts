import { Command } from 'commander'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { openDesk } from './open-installation.ts'
import { printJson } from './table.ts'

type Flags = ConfigFlags & { readonly json: boolean }

const minPrefixLength = 6

export function enrollRevokeCommand(): Command {
  return withConfigFlags(new Command('revoke'))
    .summary('take an enrolled key, or an unused token, out of use')
    .description(
      'From now on nothing that this key signs is accepted, on any server of the state; it cannot be enrolled again.\nA token that nobody used yet is thrown away. Certificates that the host has stay as they are: see "acmems certs revoke".\nAn id that begins with a hyphen stands behind --.',
    )
    .argument('<key-id>', 'the id of a key or token as "enroll list" shows it, or its beginning')
    .argument('[config...]', 'configuration files')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems enroll revoke NEyBJF2T /etc/acmems/acmems.ini\n  acmems enroll revoke --json NEyBJF2T /etc/acmems/acmems.ini',
    )
    .action(revokeEnrolment)
}

async function revokeEnrolment(id: string, files: string[], _flags: Flags, command: Command): Promise<void> {
  const flags: Flags = command.optsWithGlobals()
  await using desk = await openDesk(files, flags)
  const { enrolments } = desk.state
  const isMeant = (known: string) => known === id || (id.length >= minPrefixLength && known.startsWith(id))
  const keyIds = new Set((await enrolments.listKeys()).map(({ keyId }) => keyId).filter(isMeant))
  const tokens = (await enrolments.listTokens(desk.clock.nowMs())).filter(({ tokenHash }) => isMeant(tokenHash))
  const [keyId] = keyIds
  const [token] = tokens
  if (keyIds.size + tokens.length > 1) throw new Error(`several begin with ${id}: write more of it`)
  if (keyId !== undefined) {
    const revoked = (await enrolments.revokeKey(keyId, desk.clock.nowMs())) > 0
    const outcome = revoked ? 'revoked' : 'it was revoked before'
    if (flags.json) printJson({ keyId, outcome })
    else process.stdout.write(`${keyId}: ${outcome}\n`)
    return
  }
  if (token === undefined)
    throw new Error(
      `there is no key or token ${id}; "acmems enroll list" shows them (at least ${minPrefixLength} characters are needed)`,
    )
  await enrolments.removeToken(token.tokenHash)
  if (flags.json) printJson({ token: token.tokenHash.slice(0, 12), outcome: 'removed' })
  else process.stdout.write(`${token.tokenHash.slice(0, 12)}: the token is good for nothing any more\n`)
}
