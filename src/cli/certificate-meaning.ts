import { type CertificateValues, identifiersOf } from '../config/certificate-options.ts'
import type { CertificateSection } from '../config/config.ts'
import type { ProbeTarget } from '../probe/probe-target.ts'

const places = ['directory', 'key', 'certificate', 'chain', 'fullchain', 'pkcs12'] as const

/** What a `[certificate]` means, for check-config. */
export type CertificateMeaning = {
  readonly name: string
  readonly names: readonly string[]
  /** Where its key comes from. */
  readonly key: string
  /** `made` here, `sealed` here for another machine, or `fetched` in a box. */
  readonly kind: 'made' | 'sealed' | 'fetched'
  readonly issuer: string
  readonly verification: string | null
  readonly places: Readonly<Partial<Record<(typeof places)[number], string>>>
  readonly owner: string | null
  readonly mode: string
  readonly keyMode: string
  readonly check: string | null
  readonly hook: string | null
  readonly probe: readonly string[]
}

export function describeCertificate(section: CertificateSection): CertificateMeaning {
  const { name, values, issuer, verification = null } = section
  const { owner } = values
  return {
    name,
    names: identifiersOf(values).map(({ value }) => value),
    key: keyOf(name, values),
    kind: values.box !== undefined ? 'fetched' : values.recipient !== undefined ? 'sealed' : 'made',
    issuer,
    verification,
    places: Object.fromEntries(
      places.flatMap((place) => (values[place] === undefined ? [] : [[place, values[place]]])),
    ),
    owner: owner === undefined ? null : [owner.user, ...(owner.group === undefined ? [] : [owner.group])].join(':'),
    mode: octal(values.mode),
    keyMode: octal(values['key-mode']),
    check: values.check ?? null,
    hook: values.hook ?? null,
    probe: values.probe.flatMap((target) => (target === 'no' ? [] : [placeOf(target)])),
  }
}

export function certificateLine(meaning: CertificateMeaning): string {
  const { name, names, key, issuer, verification, owner, mode, keyMode, check, hook, probe } = meaning
  const source =
    meaning.kind === 'fetched'
      ? `from issuer "${issuer}"`
      : `by issuer "${issuer}", ${verification === null ? 'not proven' : `proven by "${verification}"`}`
  const installed = Object.entries(meaning.places).map(([place, path]) => `${place} ${path}`)
  const whose = `${owner === null ? '' : `of ${owner}, `}modes ${mode} and ${keyMode} with the key`
  return [
    `certificate "${name}": ${names.join(', ')} ${source}`,
    key,
    ...(installed.length === 0 ? [] : [`installed as ${installed.join(', ')} (${whose})`]),
    ...(check === null ? [] : [`checked by: ${check}`]),
    ...(hook === null ? [] : [`then runs: ${hook}`]),
    ...(probe.length === 0 ? [] : [`looked at: ${probe.join(', ')}`]),
  ].join('\n  ')
}

function keyOf(name: string, values: CertificateValues): string {
  const { box, recipient, auth, 'key-type': keyType, 'reuse-key': isKept } = values
  if (box !== undefined) {
    const opened = values['box-key'] ?? 'the key that requests are signed with'
    return `key and certificate come in the box ${box}, opened with ${opened}, looked for every ${values['box-interval']} s`
  }
  if (recipient !== undefined)
    return `a new key (${keyType}) each time, sealed to ${recipient}, for callers of block "${auth}" at /box/${name}`
  return isKept ? `a key (${keyType}) that stays` : `a new key (${keyType}) each time`
}

function placeOf({ scheme, at, port, serverName }: ProbeTarget): string {
  const host = at === 'names' ? 'its names' : at === 'caller' ? 'who picks it up' : at.host
  return `${scheme} of ${host}, port ${port}${serverName === undefined ? '' : ` (${serverName})`}`
}

function octal(mode: number): string {
  return `0${mode.toString(8).padStart(3, '0')}`
}
