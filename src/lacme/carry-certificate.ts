import { certificateOptions } from '../config/certificate-options.ts'
import type { Option } from '../plugin-api.ts'
import { carryNames } from './carry-names.ts'
import type { LacmeCertificate } from './lacme-setup.ts'
import { isWritable, type OwnLine, type OwnSection } from './own-text.ts'
import { type Remark, remark } from './remark.ts'
import type { ServerKey } from './server-key.ts'

type CertificateKey = keyof typeof certificateOptions

/** lacme checks what it installs against this bundle. */
export const usualRoots = '/usr/share/lacme/ca-certificates.crt'

export type Surroundings = {
  /** What is in the file at `certificate-key`. */
  readonly keyOf: (path: string) => ServerKey
  readonly isThere: (path: string) => boolean
  /** Names that sections of ours have so far. */
  readonly taken: Set<string>
}

const outputs = { certificate: 'certificate', 'certificate-chain': 'fullchain', 'certificate-key': 'key' } as const

/** A section of lacme-certs.conf becomes `[certificate]`. One that cannot be used becomes a comment. */
export function carryCertificate(certificate: LacmeCertificate, surroundings: Surroundings): OwnSection {
  const { name, origin } = certificate
  const values = new Map([...certificate.values].filter(([, { text }]) => text !== ''))
  const remarks: Remark[] = []
  const lines: OwnLine[] = []
  const leave = (key: string, instead: string) => {
    const value = certificate.values.get(key)
    remarks.push(remark('left out', value?.origin ?? origin, `[${name}] ${key} = ${value?.text ?? ''}`, instead))
  }
  /** Writes it, if our configuration takes it. */
  const put = (key: CertificateKey, value: string, from: string, because?: string): boolean => {
    const problem = problemOf(key, value)
    if (problem === undefined) lines.push({ key, value, because: because ?? values.get(from)?.origin ?? origin })
    else leave(from, problem)
    return problem === undefined
  }

  carryNames(certificate, { lines, remarks })
  for (const [theirs, ours] of Object.entries(outputs)) {
    const value = values.get(theirs)
    if (value !== undefined) put(ours, value.text, theirs)
  }
  carryKeyCare(certificate, surroundings, { lines, remarks, put })
  const mode = values.get('mode') ?? values.get('chmod')
  if (mode !== undefined) put('mode', mode.text, values.has('mode') ? 'mode' : 'chmod', mode.origin)
  const notify = values.get('notify')
  if (notify !== undefined) put('hook', notify.text, 'notify')
  carryRoots(certificate, surroundings, { remarks, put })
  carryRequest(certificate, { leave, put })

  const has = (key: string) => lines.some((line) => line.key === key)
  const missing = [
    ...(has('domain') || has('ip-address') ? [] : ['a name']),
    ...(has('key') ? [] : ['certificate-key']),
    ...(has('certificate') || has('fullchain') ? [] : ['certificate or certificate-chain']),
  ]
  if (missing.length > 0)
    remarks.push(remark('left out', origin, `[${name}], the whole section`, `it lacks ${missing.join(' and ')}`))
  const ownName = ownNameOf(name, surroundings.taken)
  if (ownName !== name)
    remarks.push(remark('note', origin, `[${name}]`, `it is called ${ownName} here, as names become folders`))
  return { header: `certificate "${ownName}"`, origin, lines, remarks, disabled: missing.length > 0 }
}

type Put = (key: CertificateKey, value: string, from: string, because?: string) => boolean

/** The key that is there goes on; what it is and who may read it stays as it is. */
function carryKeyCare(
  { name, origin, values }: LacmeCertificate,
  { keyOf }: Surroundings,
  { lines, remarks, put }: { lines: OwnLine[]; remarks: Remark[]; put: Put },
): void {
  lines.push({ key: 'reuse-key', value: 'yes', because: 'lacme never makes another key' })
  const key = values.get('certificate-key')
  const owner = values.get('owner') ?? values.get('chown')
  const ownerKey = values.has('owner') ? 'owner' : 'chown'
  const path = key?.text ?? ''
  if (!path.startsWith('/')) return
  const found = keyOf(path)
  const isUsable = owner !== undefined && owner.text !== '' && problemOf('owner', owner.text) === undefined
  const wanted = isUsable ? owner : undefined
  if (owner !== undefined && owner.text !== '' && !isUsable) put('owner', owner.text, ownerKey)
  if (found.kind === 'unknown') {
    remarks.push(
      remark(
        found.reason === undefined ? 'note' : 'left out',
        key?.origin ?? origin,
        `[${name}] certificate-key = ${path}`,
        found.reason === undefined
          ? 'it is not there, so a key is made'
          : `${found.reason}; write key-type as it is, or a new key takes its place`,
      ),
    )
    if (wanted !== undefined) put('owner', wanted.text, ownerKey)
    return
  }
  const { keyType, mode } = found
  if (keyType.ours) lines.push({ key: 'key-type', value: keyType.ours, because: `as ${path} is` })
  else
    remarks.push(
      remark(
        'left out',
        key?.origin ?? origin,
        `[${name}] certificate-key = ${path}`,
        `keys like this one (${keyType.theirs}) are not kept: a new one of type ec-256 takes its place`,
      ),
    )
  if (mode !== '0600') lines.push({ key: 'key-mode', value: mode, because: `as ${path} is` })
  if (/[4-7]$/.test(mode))
    remarks.push(remark('note', key?.origin ?? origin, `${path} can be read by everybody`, 'see key-mode'))
  const keyOwner = `${found.user}:${found.group}`
  const isSame = wanted !== undefined && [found.user, keyOwner].includes(wanted.text)
  if (isSame || (wanted === undefined && keyOwner === 'root:root')) {
    if (wanted !== undefined) put('owner', wanted.text, ownerKey)
    return
  }
  lines.push({ key: 'owner', value: keyOwner, because: `as ${path} is` })
  if (wanted !== undefined)
    remarks.push(
      remark(
        'left out',
        wanted.origin,
        `[${name}] ${ownerKey} = ${wanted.text}`,
        `key and certificate have one owner, and the key is ${keyOwner}'s; write owner = ${wanted.text} if the key may be theirs, too`,
      ),
    )
}

function carryRoots(
  { values, origin, name }: LacmeCertificate,
  { isThere }: Surroundings,
  { remarks, put }: { remarks: Remark[]; put: Put },
): void {
  const given = values.get('CAfile')
  if (given?.text === '') return
  const path = given?.text ?? usualRoots
  if (isThere(path)) {
    put('ca-file', path, 'CAfile', given?.origin ?? "lacme's default")
    if (path === usualRoots)
      remarks.push(
        remark('note', given?.origin ?? origin, `[${name}] ca-file`, "copy it before you remove lacme's package"),
      )
  } else
    remarks.push(
      remark(
        'left out',
        given?.origin ?? origin,
        `[${name}] CAfile = ${path}`,
        'it is not there; write ca-file with the roots of your CA, or certificates of any are installed',
      ),
    )
}

function carryRequest(
  { values, name }: LacmeCertificate,
  { leave, put }: { leave: (key: string, instead: string) => void; put: Put },
): void {
  const text = (key: string) => values.get(key)?.text || undefined
  const [hash, keyUsage, feature, days] = ['hash', 'keyUsage', 'tlsfeature', 'min-days'].map(text)
  if (hash !== undefined) {
    if (problemOf('digest', hash) === undefined) put('digest', hash, 'hash')
    else leave('hash', 'no CA takes it any more; the digest that fits the key is used')
  }
  if (keyUsage !== undefined) put('key-usage', keyUsage.replace(/^critical\s*,\s*/, ''), 'keyUsage')
  if (feature !== undefined) {
    if (/^(status_request|5)$/i.test(feature)) put('must-staple', 'yes', 'tlsfeature')
    else leave('tlsfeature', 'only status_request is there (must-staple = yes)')
  }
  if (days !== undefined) {
    if (/^\d{1,4}$/.test(days) && Number(days) > 0) put('renew-within', `${Number(days)}d`, 'min-days')
    else
      leave(
        'min-days',
        `[${name}] is renewed when the CA suggests it, or with a third of its lifetime left; at once by acmems certs renew`,
      )
  }
}

function problemOf(key: CertificateKey, value: string): string | undefined {
  if (!isWritable(value)) return 'a line of our configuration cannot say it'
  const option: Option<unknown> = certificateOptions[key]
  try {
    option.parse(value)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : 'it cannot be read'
  }
}

/** lacme's names may be anything. */
function ownNameOf(name: string, taken: Set<string>): string {
  const base =
    name
      .replace(/^\*\./, 'wildcard.')
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 90) || 'certificate'
  let own = base
  for (let i = 2; taken.has(own); i++) own = `${base}-${i}`
  taken.add(own)
  return own
}
