// Type declarations of one module of src/, and of no more than it refers to.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, normalize } from 'node:path'

const flags = [
  ...['--ignoreConfig', '--declaration', '--emitDeclarationOnly', '--strict', '--allowImportingTsExtensions'],
  ...['--target', 'es2024', '--lib', 'es2024,esnext.disposable', '--module', 'nodenext', '--types', 'node'],
  ...['--skipLibCheck', '--resolveJsonModule'],
]

/** @param name `plugin-api` for src/plugin-api.ts */
export function emitDeclarations(root: string, name: string, outdir: string): void {
  // Within the target, which is on a disk that has room for it and is thrown away when this fails.
  const emitted = mkdtempSync(join(outdir, 'declarations-'))
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
  const places = ['--rootDir', 'src', '--outDir', emitted]
  execFileSync(process.execPath, [tsc, ...flags, ...places, `src/${name}.ts`], { cwd: root, stdio: 'inherit' })
  const pending = [`${name}.d.ts`]
  const taken = new Set<string>()
  for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
    if (taken.has(file)) continue
    taken.add(file)
    mkdirSync(dirname(join(outdir, file)), { recursive: true })
    copyFileSync(join(emitted, file), join(outdir, file))
    pending.push(...renameImports(outdir, file))
  }
  rmSync(emitted, { recursive: true })
}

/** `./x.ts` as it stands in the sources becomes `./x.js`, which every module resolution understands. */
function renameImports(outdir: string, file: string): string[] {
  const imported: string[] = []
  const text = readFileSync(join(outdir, file), 'utf8').replace(
    /(from |import\()(['"])(\.{1,2}\/[^'"]+)\.ts\2/g,
    (_all, before: string, quote: string, target: string) => {
      imported.push(normalize(join(dirname(file), `${target}.d.ts`)))
      return `${before}${quote}${target}.js${quote}`
    },
  )
  writeFileSync(join(outdir, file), text)
  return imported
}
