import { Command } from 'commander'
import { parseRevocationReason, type RevocationReason, revocationReasons } from '../acme-client/revocations.ts'
import type { Certificate } from '../x509/certificate.ts'
import { shortId } from './certificate-choice.ts'
import { readCertificateKey } from './certificate-key.ts'
import { type ConfigFlags, withConfigFlags } from './config-arguments.ts'
import { confirm } from './confirmation.ts'
import { noteByHand } from './note-by-hand.ts'
import { type Desk, openDesk } from './open-installation.ts'
import { findIssuer, findTarget, type Target } from './revocation-target.ts'
import { findWithKey, forgetRevoked, publicKeyHashOf } from './revocation-traces.ts'
import { formatNames, isoTime, printJson } from './table.ts'
import { UsageError } from './usage-error.ts'

type Flags = ConfigFlags & {
  readonly reason?: string
  readonly key?: string
  readonly issuer?: string
  readonly yes: boolean
  readonly json: boolean
}

export function certsRevokeCommand(): Command {
  return withConfigFlags(new Command('revoke'))
    .summary('revoke a certificate at its CA')
    .description(
      "Revoke a certificate at its CA, and never answer it again. The account signs, or with --key the certificate's own\nkey. After keyCompromise no certificate is ordered for that key any more: the host needs a new one.\nReasons: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation.",
    )
    .argument('<certificate>', 'its id, serial or name; or a PEM file (with a slash in it, or .pem, .crt, .cer)')
    .argument('[config...]', 'configuration files')
    .option('--reason <word>', 'why: a word of the above, or its number')
    .option('--key <file>', "sign with the certificate's own key, in PEM")
    .option('--issuer <name>', 'the [issuer] that a PEM file came from, where we cannot know it')
    .option('--yes', 'do not ask', false)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExamples:\n  acmems certs revoke www.example.org /etc/acmems/acmems.ini\n  acmems certs revoke 3fa94c10 --reason keyCompromise --yes /etc/acmems/acmems.ini\n  acmems certs revoke ./old.pem --key ./old.key --reason superseded /etc/acmems/acmems.ini',
    )
    .action(revokeCertificate)
}

async function revokeCertificate(text: string, files: string[], flags: Flags): Promise<void> {
  const reason = readReason(flags.reason)
  await using desk = await openDesk(files, flags)
  const target = await findTarget(desk, text)
  const { name, revoke } = await findIssuer(desk, target, flags.issuer)
  const { leaf } = target.chain
  const key = flags.key === undefined ? undefined : await readCertificateKey(flags.key, leaf)
  await confirm(describe(leaf, name, reason, key !== undefined), flags.yes)
  await revoke(
    {
      certificateDer: leaf.x509.raw,
      ...(reason === undefined ? {} : { reason }),
      ...(key === undefined ? {} : { key }),
    },
    desk.context,
  )
  await forgetRevoked(desk, target)
  await noteByHand(desk.state, 'certificate.revoked', namesOf(leaf), {
    serial: leaf.serial,
    issuer: name,
    ...(flags.reason === undefined ? {} : { reason: flags.reason }),
  })
  const isCompromised = reason === revocationReasons.keyCompromise
  if (isCompromised) await desk.state.register.blockKey(publicKeyHashOf(leaf), 'keyCompromise', desk.clock.nowMs())
  report(leaf, name, isCompromised, isCompromised ? await findOthers(desk, target) : [], flags.json)
}

function readReason(text: string | undefined): RevocationReason | undefined {
  if (text === undefined) return undefined
  try {
    return parseRevocationReason(text)
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function namesOf(leaf: Certificate): string[] {
  return leaf.identifiers.map(({ value }) => value)
}

function describe(leaf: Certificate, issuer: string, reason: number | undefined, byKey: boolean): string {
  const word = Object.entries(revocationReasons).find(([, code]) => code === reason)?.[0]
  const names = namesOf(leaf)
  const how = byKey ? 'with its own key' : 'with our account'
  return `Revoke the certificate ${leaf.serial} for ${formatNames(names)} at issuer "${issuer}" ${how}${word === undefined ? '' : `, reason ${word}`}`
}

/** The CA revokes only what it is told; others with the same key are no better. */
async function findOthers(desk: Desk, { chain, entry }: Target) {
  const withKey = await findWithKey(desk.state.register, publicKeyHashOf(chain.leaf))
  return withKey.filter(({ id, revokedAtMs }) => id !== entry?.id && revokedAtMs === undefined)
}

function report(
  leaf: Certificate,
  issuer: string,
  isCompromised: boolean,
  others: Awaited<ReturnType<typeof findOthers>>,
  json: boolean,
): void {
  const names = namesOf(leaf)
  if (json) {
    printJson({
      ...{ serial: leaf.serial, names, issuer, notAfter: isoTime(leaf.notAfterMs), outcome: 'revoked' },
      ...{ keyBlocked: isCompromised, othersWithThisKey: others.map(({ id, serial }) => ({ id, serial })) },
    })
    return
  }
  process.stdout.write(`revoked: ${leaf.serial} for ${formatNames(names)}; it is not answered any more\n`)
  if (isCompromised) process.stdout.write('its key is blocked: the host must make a new key and a new request\n')
  for (const { id, serial, names: otherNames } of others) {
    process.stdout.write(
      `the same key is in ${serial} for ${formatNames(otherNames)}: acmems certs revoke ${shortId(id)} --reason keyCompromise\n`,
    )
  }
}
