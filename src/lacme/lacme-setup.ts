import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { type LacmeFile, parseLacmeFile, type Value, type Values } from './lacme-file.ts'
import { type Remark, remark } from './remark.ts'
import { expandSpecifiers, type Runner } from './specifiers.ts'

/** A certificate section with its defaults filled in, as lacme uses it. */
export type LacmeCertificate = { readonly name: string; readonly origin: string; readonly values: Values }

/** All that lacme reads when it renews. */
export type LacmeSetup = {
  readonly configFile: string
  readonly main: LacmeFile
  readonly certificates: readonly LacmeCertificate[]
  /** lacme-accountd's own file; undefined: lacme does not start it, or there is no file. */
  readonly accountd: Values | undefined
  readonly remarks: readonly Remark[]
}

const certificateKeys = [
  ...['certificate', 'certificate-chain', 'certificate-key', 'min-days', 'CAfile', 'hash', 'keyUsage', 'subject'],
  ...['subjectAltName', 'tlsfeature', 'owner', 'chown', 'mode', 'chmod', 'notify'],
]
const mainKeys: Readonly<Record<string, readonly string[]>> = {
  client: ['socket', 'user', 'group', 'command', 'server', 'timeout', 'SSL_verify', 'SSL_version', 'SSL_cipher_list'],
  webserver: ['listen', 'challenge-directory', 'user', 'group', 'command', 'iptables'],
  accountd: ['user', 'group', 'command', 'config', 'privkey', 'quiet'],
}
const accountdKeys = ['privkey', 'gpg', 'socket', 'logfile', 'keyid', 'quiet']
const usualCertificateFiles = 'lacme-certs.conf lacme-certs.conf.d/'

/**
 * Reads lacme's configuration and every file that it names. What cannot be read is a remark, and the rest counts.
 * @param path lacme.conf, or its folder
 * @param runner who runs lacme; its specifiers are filled in for them
 * @throws Error when lacme.conf itself cannot be read
 */
export async function readLacmeSetup(path: string, runner: Runner): Promise<LacmeSetup> {
  const configFile = (await stat(path)).isDirectory() ? join(path, 'lacme.conf') : path
  const remarks: Remark[] = []
  const main = await readOne(configFile, remarks)
  for (const [key, { origin }] of main.defaults)
    if (key !== 'config-certs') remarks.push(unknownKey(key, origin, 'the default section'))
  for (const [name, { origin, values }] of main.sections) {
    const known = mainKeys[name]
    if (known === undefined) remarks.push(remark('left out', origin, `[${name}]`, 'lacme does not know the section'))
    else remarks.push(...unknownKeys(values, known, `[${name}]`))
  }
  const certificates = await readCertificates(configFile, main, runner, remarks)
  const accountd = await readAccountd(configFile, main, runner, remarks)
  return { configFile, main, certificates, accountd, remarks }
}

async function readOne(file: string, remarks: Remark[]): Promise<LacmeFile> {
  const parsed = parseLacmeFile(await readFile(file, 'utf8'), file)
  remarks.push(...parsed.remarks)
  return parsed.content
}

async function readCertificates(
  configFile: string,
  main: LacmeFile,
  runner: Runner,
  remarks: Remark[],
): Promise<LacmeCertificate[]> {
  const named = main.defaults.get('config-certs') ?? { text: usualCertificateFiles, origin: configFile }
  const certificates = new Map<string, LacmeCertificate>()
  const defaults = new Map<string, Value>()
  for (const word of named.text.split(/\s+/).filter(Boolean)) {
    for (const file of await findFiles(word, named.origin, configFile, runner, remarks)) {
      const content = await readOne(file, remarks).catch((error: unknown) => {
        remarks.push(remark('left out', named.origin, file, reasonOf(error)))
      })
      if (content === undefined) continue
      for (const [key, value] of content.defaults) {
        if (certificateKeys.includes(key)) defaults.set(key, value)
        else remarks.push(unknownKey(key, value.origin, 'the default section'))
      }
      for (const [name, section] of content.sections) {
        remarks.push(...unknownKeys(section.values, certificateKeys, `[${name}]`))
        const former = certificates.get(name)
        if (former !== undefined)
          remarks.push(remark('note', former.origin, `[${name}]`, `${section.origin} takes its place, as with lacme`))
        const inherited = [...defaults].filter(([key]) => !section.values.has(key))
        remarks.push(...leaks(name, section.origin, inherited, content.defaults))
        certificates.set(name, { name, origin: section.origin, values: new Map([...inherited, ...section.values]) })
      }
    }
  }
  return [...certificates.values()].sort((left, right) => (left.name < right.name ? -1 : 1))
}

/** lacme's defaults go on into later files, whose readers do not see them there. */
function leaks(name: string, origin: string, inherited: readonly [string, Value][], own: Values): Remark[] {
  return inherited
    .filter(([key]) => !own.has(key))
    .map(([key, value]) =>
      remark(
        'note',
        origin,
        `[${name}] has ${key} = ${value.text} from another file, ${value.origin}`,
        "lacme's defaults go on into the files after it; here the section says it itself",
      ),
    )
}

async function findFiles(
  word: string,
  origin: string,
  configFile: string,
  runner: Runner,
  remarks: Remark[],
): Promise<string[]> {
  try {
    const expanded = expandSpecifiers(word, runner)
    const path = isAbsolute(expanded) ? expanded : join(dirname(configFile), expanded)
    const isFolder = path.endsWith('/') || (await stat(path)).isDirectory()
    if (!isFolder) return [path]
    const folder = path.replace(/\/$/, '')
    const entries = (await readdir(folder)).sort()
    for (const entry of entries.filter((name) => !name.endsWith('.conf')))
      remarks.push(remark('note', `${folder}/${entry}`, 'the file', 'lacme reads only *.conf here'))
    return entries.filter((name) => name.endsWith('.conf')).map((name) => `${folder}/${name}`)
  } catch (error) {
    // What lacme looks for of itself need not be there.
    const kind = origin === configFile ? 'note' : 'left out'
    remarks.push(remark(kind, origin, `config-certs: ${word}`, reasonOf(error)))
    return []
  }
}

/** Beside lacme.conf first: it may be a copy from another machine. */
async function readAccountd(
  configFile: string,
  main: LacmeFile,
  runner: Runner,
  remarks: Remark[],
): Promise<Values | undefined> {
  const section = main.sections.get('accountd')
  if (section === undefined) return undefined
  const given = section.values.get('config')
  const origin = given?.origin ?? section.origin
  try {
    const beside = join(dirname(configFile), 'lacme-accountd.conf')
    const usual = existsSync(beside) ? beside : expandSpecifiers('%E/lacme/lacme-accountd.conf', runner)
    const file = given !== undefined && given.text !== '' ? expandSpecifiers(given.text, runner) : usual
    if ((given === undefined || given.text === '') && !existsSync(file)) return undefined
    const { defaults, sections } = await readOne(file, remarks)
    for (const [name, { origin: at }] of sections)
      remarks.push(remark('left out', at, `[${name}]`, 'lacme-accountd knows no sections'))
    remarks.push(...unknownKeys(defaults, accountdKeys, "lacme-accountd's file"))
    return defaults
  } catch (error) {
    remarks.push(remark('left out', origin, "lacme-accountd's configuration", reasonOf(error)))
    return undefined
  }
}

function unknownKeys(values: Values, known: readonly string[], where: string): Remark[] {
  return [...values].filter(([key]) => !known.includes(key)).map(([key, { origin }]) => unknownKey(key, origin, where))
}

function unknownKey(key: string, origin: string, where: string): Remark {
  return remark('left out', origin, `${key} in ${where}`, 'lacme does not know it either')
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown reason'
}
