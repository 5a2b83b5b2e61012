// Makes dist/, what the published package runs: every dependency inside, so that an installation fetches nothing but,
// where it is needed, a Node.js. Run by node, from anywhere: node scripts/build.ts [--outdir DIR]
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build, type Metafile } from 'esbuild'
import { emitDeclarations } from './declarations.ts'
import { describeThirdParties } from './third-party.ts'

const root = resolve(import.meta.dirname, '..')

// CommonJS dependencies ask for Node's own modules by require(), which an ES module does not have.
const banner = `import{createRequire as acmemsRequire}from'node:module';const require=acmemsRequire(import.meta.url);`

/** Asked for by a dependency within try, and never there: pg's other way to the database, a C addon. */
const neverThere = ['pg-native']

export type BuildOptions = {
  readonly outdir: string
  /** Type declarations for authors of plugins; a second more. */
  readonly declarations: boolean
}

/** Builds into a folder beside `outdir` and then puts it in its place: nobody ever sees a half of it. */
export async function buildRelease({ outdir, declarations }: BuildOptions): Promise<void> {
  const fresh = `${outdir}.${process.pid}.new`
  const former = `${outdir}.${process.pid}.old`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true })
  try {
    const metafile = await bundle(fresh)
    checkImports(metafile)
    writeFileSync(join(fresh, 'THIRD-PARTY.txt'), describeThirdParties(root, metafile))
    if (declarations) emitDeclarations(root, 'plugin-api', fresh)
    moveAway(outdir, former)
    renameSync(fresh, outdir)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
    rmSync(former, { recursive: true, force: true })
  }
}

/**
 * An entry for each program, and a chunk for each command: `acmems --version` then waits for no server's libraries.
 * Names stay, white space goes: the engine keeps the source text in memory, and one letter beyond Latin-1 in a comment
 * makes it keep two octets for every character of the file (measured: 12 MB more in an idle server).
 * Node's compile cache is left alone: it saves 50 ms of 230, for executable code in a folder that others may share.
 */
async function bundle(outdir: string): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { acmems: 'src/main.ts', 'acmems-install': 'src/install-main.ts' },
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    chunkNames: 'acmems-[hash]',
    banner: { js: banner },
    minifyWhitespace: true,
    // So that a stack trace's line numbers still lead somewhere.
    lineLimit: 200,
    charset: 'ascii',
    // They are in THIRD-PARTY.txt, once and whole.
    legalComments: 'none',
    external: neverThere,
    metafile: true,
    logLevel: 'warning',
  })
  return metafile
}

/** @throws Error when something would have to be installed beside the bundle */
function checkImports(metafile: Metafile): void {
  const outside = Object.values(metafile.outputs)
    .flatMap(({ imports }) => imports)
    .filter(({ path, external }) => external === true && !isBuiltin(path) && !neverThere.includes(path))
    .map(({ path }) => path)
  if (outside.length > 0) throw new Error(`the bundle would need packages beside it: ${outside.join(', ')}`)
}

function isBuiltin(path: string): boolean {
  return path.startsWith('node:') || builtinModules.includes(path)
}

function moveAway(folder: string, target: string): void {
  try {
    renameSync(folder, target)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { outdir: { type: 'string', default: join(root, 'dist') } } })
  await buildRelease({ outdir: resolve(values.outdir), declarations: true })
}
