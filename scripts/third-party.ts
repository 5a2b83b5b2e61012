// What the licences of bundled packages ask for: their texts go with the copy.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Metafile } from 'esbuild'

const licenceFile = /^(licen[cs]e|copying|notice)([.-].*)?$/i
const rule = '='.repeat(100)

/** Name, version, licence and licence texts of every package of which something is in the bundle. */
export function describeThirdParties(root: string, metafile: Metafile): string {
  const folders = new Set<string>()
  for (const { inputs } of Object.values(metafile.outputs)) {
    for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
      const folder = packageFolder(path)
      if (folder !== undefined && bytesInOutput > 0) folders.add(folder)
    }
  }
  const notices = [...folders].sort().map((folder) => describePackage(join(root, folder)))
  return `acmems contains parts of these packages, each under its own licence.\n\n${notices.join('\n')}`
}

/** `node_modules/a/node_modules/@b/c/lib/d.js` -> `node_modules/a/node_modules/@b/c` */
function packageFolder(path: string): string | undefined {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]
}

function describePackage(folder: string): string {
  const description = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, unknown>
  const { name, version, license } = description
  const texts = readdirSync(folder)
    .filter((file) => licenceFile.test(file) && existsSync(join(folder, file)))
    .sort()
    .map((file) => readFileSync(join(folder, file), 'utf8').trim())
  if (typeof license !== 'string' && texts.length === 0)
    throw new Error(`${String(name)} does not say under which licence it may be passed on`)
  const body = texts.length === 0 ? ['The package itself names its licence and holds no text of it.'] : texts
  return `${rule}\n${String(name)} ${String(version)} (${String(license)})\n${rule}\n\n${body.join('\n\n')}\n`
}
