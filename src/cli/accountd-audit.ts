import { Command } from 'commander'
import { checkAuditChain } from '../accountd/audit-chain.ts'
import { printJson } from './table.ts'

/** `acmems accountd check-audit FILE...` */
export function auditCheckCommand(): Command {
  return new Command('check-audit')
    .summary('see whether an audit log is whole')
    .description(
      'Read the audit log of an accountd, the oldest file first, and see whether each line follows the one before. What was\ncut off at its end does not show: compare the last hash with the one that you keep elsewhere.\nExit code 1: a line was changed, added or taken out.',
    )
    .argument('<file...>', 'the log, and before it the files that it was rotated into')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems accountd check-audit /var/log/acmems-accountd/audit.log\n  acmems accountd check-audit audit.log.1 audit.log --json',
    )
    .action((files: string[], { json }: { json: boolean }) => {
      const { lines, head, flaw } = checkAuditChain(files)
      if (json) printJson({ ok: flaw === undefined, lines, head, flaw: flaw ?? null })
      else if (flaw === undefined) process.stdout.write(`${lines} lines in order; the last hash is ${head}\n`)
      else process.stdout.write(`${flaw}\n`)
      if (flaw !== undefined) process.exitCode = 1
    })
}
