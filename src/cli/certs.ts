import { Command } from 'commander'
import { certsListCommand } from './certs-list.ts'
import { certsRenewCommand } from './certs-renew.ts'
import { certsRevokeCommand } from './certs-revoke.ts'
import { certsShowCommand } from './certs-show.ts'

/** `acmems certs`: what was issued. */
export function certsCommand(): Command {
  return new Command('certs')
    .summary('list, show, renew and revoke certificates')
    .description(
      'The certificates that were issued and can be renewed, as the state knows them.\nA certificate is named by its id, its serial (both may be shortened) or one of its names.',
    )
    .addCommand(certsListCommand())
    .addCommand(certsShowCommand())
    .addCommand(certsRenewCommand())
    .addCommand(certsRevokeCommand())
    .addHelpText(
      'after',
      '\nExamples:\n  acmems certs list --expiring 14 /etc/acmems/acmems.ini\n  acmems certs show www.example.org /etc/acmems/acmems.ini\n  acmems certs renew www.example.org /etc/acmems/acmems.ini\n  acmems certs revoke www.example.org --reason keyCompromise /etc/acmems/acmems.ini',
    )
}
