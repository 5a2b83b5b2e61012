import { createPublicKey } from 'node:crypto'
import { Command } from 'commander'
import { asProblemError } from '../acme/problem.ts'
import { identifiersOf } from '../config/certificate-options.ts'
import type { CertificateSection } from '../config/config.ts'
import { openBoxKey } from '../managed/box-key.ts'
import { forgetTrouble } from '../managed/memory.ts'
import { certificateFolder } from '../managed-certificates.ts'
import type { Issuer } from '../plugin-api.ts'
import { openAgentKey } from '../plugins/issuers/agent-key.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & { readonly json: boolean }
type Done = { readonly name: string; readonly box: string; readonly problem?: string }

/** `acmems agent register` */
export function agentRegisterCommand(): Command {
  return withConfigFlags(new Command('register'))
    .summary('have a server make the sealed boxes of this host')
    .description(
      "For every [certificate] with a box: tell its issuer, another acmems, to make the box for these names and this host's\nkey, and to keep it up. The block of the key needs register-boxes = yes there. Again with other names or another key\nit changes the box; again as before it changes nothing. A box-key that is not there yet is made.\nAn argument with a slash in it or with .ini at its end is a configuration file, every other one a certificate.",
    )
    .argument('[name...]', 'names of [certificate] sections (default: all with a box), then configuration files')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems agent register /etc/acmems/agent.ini\n  acmems agent register printer /etc/acmems/agent.ini',
    )
    .action(register)
}

async function register(words: string[], flags: Flags): Promise<void> {
  const isFile = (word: string) => word.includes('/') || word.endsWith('.ini')
  await using desk = await openDesk(words.filter(isFile), flags, { state: 'made' })
  desk.stopOnSignal()
  const names = words.filter((word) => !isFile(word))
  const chosen = choose(desk.config.certificates, names)
  const { issuers } = await desk.openRuntime()
  const done: Done[] = []
  for (const section of chosen) {
    const common = { name: section.name, box: section.values.box ?? '' }
    try {
      await registerBox(section, issuers.get(section.issuer), desk)
      await forgetTrouble(certificateFolder(desk.stateFolder, section))
      done.push(common)
    } catch (error) {
      const { code, message } = asProblemError(error)
      done.push({ ...common, problem: code === 'serverInternal' && error instanceof Error ? error.message : message })
    }
  }
  if (done.some(({ problem }) => problem !== undefined)) process.exitCode = 1
  if (flags.json) printJson({ boxes: done })
  else
    for (const { name, box, problem } of done) {
      if (problem === undefined) process.stdout.write(`${name}: the box ${box} is registered\n`)
      else process.stderr.write(`${name}: ${problem}\n`)
    }
}

function choose(sections: readonly CertificateSection[], names: readonly string[]): CertificateSection[] {
  const boxes = sections.filter(({ values }) => values.box !== undefined)
  const unknown = names.find((name) => !boxes.some((section) => section.name === name))
  if (boxes.length === 0) throw new UsageError('the configuration has no [certificate] with a box')
  if (unknown !== undefined)
    throw new UsageError(
      `there is no [certificate "${unknown}"] with a box; there are ${boxes.map(({ name }) => name).join(', ')}`,
    )
  return names.length === 0 ? boxes : boxes.filter(({ name }) => names.includes(name))
}

async function registerBox({ values }: CertificateSection, issuer: Issuer | undefined, { context }: Desk) {
  const { box: name, 'box-key': keyFile, 'key-type': keyType } = values
  const source = issuer?.boxes
  if (name === undefined || source === undefined) throw new Error('its issuer has no boxes')
  // Durable before anybody seals to it.
  if (keyFile !== undefined) await openAgentKey(keyFile)
  const publicKey = createPublicKey(await openBoxKey(source, keyFile))
  const recipientPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  await source.register({ name, identifiers: identifiersOf(values), keyType, recipientPem }, context)
}
