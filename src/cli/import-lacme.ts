import { resolve } from 'node:path'
import { Command } from 'commander'
import { platformSettings } from '../config/environment.ts'
import { type Carried, carryOver } from '../lacme/carry.ts'
import { readLacmeSetup } from '../lacme/lacme-setup.ts'
import { formatRemark } from '../lacme/remark.ts'
import { acmeOptions, defaultAccountFolder } from '../plugins/issuers/acme-plugin.ts'
import { writeNewFile } from './new-file.ts'
import { printJson } from './table.ts'
import { whoWeAre } from './who-we-are.ts'

type Flags = { readonly output: string; readonly json: boolean }

/** Ends so when something of it is not in what was written. */
const leftOutCode = 3

/** `acmems import lacme [PATH]` */
export function importLacmeCommand(): Command {
  return new Command('lacme')
    .summary("write lacme's configuration as one of ours")
    .description(
      "Read lacme.conf, the certificate sections that it names and lacme-accountd's file, and write one configuration for\nacmems. Run it as the user that lacme runs as. Everything that cannot be carried over is named on standard error and in\nthe configuration, with its file and line. Nothing of lacme is changed.\nExit code: 0 all of it was carried over, 3 something was left out, 1 it failed, 2 it was called wrongly.",
    )
    .argument('[path]', 'lacme.conf, or its folder', '/etc/lacme')
    .option('--output <file>', 'where to write it, a file that is not there yet; - is standard output', '-')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems import lacme\n  acmems import lacme /etc/lacme --output /etc/acmems/acmems.ini\n  acmems import lacme --json',
    )
    .action(importLacme)
}

async function importLacme(path: string, flags: Flags): Promise<void> {
  const runner = whoWeAre()
  const setup = await readLacmeSetup(resolve(path), runner)
  const accountFolder = defaultAccountFolder(platformSettings().stateFolder, 'default')
  const carried = await carryOver(setup, runner, accountFolder, acmeOptions['acme-server'].parse)
  const isFile = flags.output !== '-'
  if (isFile) await writeNewFile(flags.output, carried.text)
  for (const remark of carried.remarks) process.stderr.write(`${formatRemark(remark)}\n`)
  if (flags.json) printJson({ output: isFile ? resolve(flags.output) : null, ...carried })
  else if (!isFile) process.stdout.write(carried.text)
  process.stderr.write(`${summarize(carried)}\n`)
  if (isFile && !flags.json) process.stderr.write(nextSteps(flags.output))
  if (countLeftOut(carried) > 0) process.exitCode = leftOutCode
}

function summarize(carried: Carried): string {
  const [certificates, leftOut] = [carried.certificates.length, countLeftOut(carried)]
  const what = certificates === 1 ? '1 certificate was' : `${certificates} certificates were`
  return `${what} taken over; ${leftOut === 0 ? 'nothing' : leftOut === 1 ? '1 thing' : `${leftOut} things`} left out`
}

function countLeftOut({ remarks }: Carried): number {
  return remarks.filter(({ kind }) => kind === 'left out').length
}

function nextSteps(output: string): string {
  return `Next:\n  acmems check-config ${output}\n  take lacme's timer or cron line away\n  acmems serve ${output}\n`
}
