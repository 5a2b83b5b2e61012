import { Command } from 'commander'
import type { Config } from '../config/config.ts'
import { ConfigError, formatFinding } from '../config/finding.ts'
import { certificateLine, describeCertificate } from './certificate-meaning.ts'
import { type ConfigFlags, readConfig, withConfigFlags } from './config-arguments.ts'
import { describeProcesses, processLines } from './process-meaning.ts'

type Flags = ConfigFlags & { readonly json: boolean }

/** `acmems check-config [CONFIG...]`: what the configuration means. Exits 1 when it cannot be used. */
export function checkConfigCommand(): Command {
  return withConfigFlags(new Command('check-config'))
    .summary('say what a configuration means, or what is wrong with it')
    .description(
      'Read the configuration as "serve" would and say what it means. Every error is shown with its file and line.\nExits with 1 when it cannot be used.',
    )
    .argument('[config...]', 'configuration files')
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems check-config /etc/acmems/acmems.ini\n  acmems check-config --json base.ini site.ini',
    )
    .action(checkConfig)
}

async function checkConfig(files: string[], flags: Flags): Promise<void> {
  try {
    const config = await readConfig(files, flags)
    const meaning = describeConfig(config)
    process.stdout.write(
      flags.json
        ? `${JSON.stringify({ ok: true, warnings: config.warnings, ...meaning }, null, 2)}\n`
        : formatMeaning(config, meaning),
    )
  } catch (error) {
    if (!(error instanceof ConfigError) || !flags.json) throw error
    process.stdout.write(`${JSON.stringify({ ok: false, findings: error.findings }, null, 2)}\n`)
    process.exitCode = 1
  }
}

type Meaning = ReturnType<typeof describeConfig>

function describeConfig(config: Config) {
  const typeOf = (chosen: { readonly plugin: { readonly name: string } } | undefined) => chosen?.plugin.name ?? ''
  return {
    listeners: config.mgmt.listener,
    maxBodyBytes: config.mgmt['max-size'],
    issuers: [...config.issuers].map(([name, chosen]) => ({
      name,
      type: typeOf(chosen),
      at: String(chosen.options['acme-server'] ?? chosen.options.server ?? ''),
    })),
    verifications: [...config.verifications].map(([name, chosen]) => ({ name, type: typeOf(chosen) })),
    storages: [...config.storages].map(([name, chosen]) => ({ name, type: typeOf(chosen) })),
    blocks: config.blocks.map((block) => ({
      name: block.name,
      who: block.credentials.map(({ name }) => name),
      names: block.values.domain.map(({ text }) => text),
      addresses: block.values['ip-address'],
      wildcard: block.values.wildcard,
      issuer: block.issuer,
      verification: block.verification ?? null,
      storage: block.storage,
      metadata: block.values.metadata,
    })),
    certificates: config.certificates.map(describeCertificate),
    processes: describeProcesses(config),
  }
}

function formatMeaning(config: Config, meaning: Meaning): string {
  const lines = [
    ...config.warnings.map(formatFinding),
    `hosts are served at ${meaning.listeners.join(', ') || 'no address'}, up to ${meaning.maxBodyBytes} bytes a request`,
    ...meaning.issuers.map(({ name, type, at }) => `issuer "${name}": ${type}${at === '' ? '' : ` ${at}`}`),
    ...meaning.blocks.map((block) => {
      const what = [...block.names, ...block.addresses].join(', ') || 'nothing'
      const how = `by issuer "${block.issuer}", ${block.verification === null ? 'not proven' : `proven by "${block.verification}"`}, ${block.metadata ? `kept in "${block.storage}"` : 'forwarded and not recorded'}`
      return `block "${block.name}": callers with ${block.who.join(' and ')} may have ${what}${block.wildcard ? ' (wildcards too)' : ''} ${how}`
    }),
    ...meaning.certificates.map(certificateLine),
    ...processLines(meaning.processes, config),
  ]
  if (meaning.blocks.length === 0) lines.push('no [auth] block: every request is refused')
  return `${lines.join('\n')}\nthe configuration can be used\n`
}
