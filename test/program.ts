// acmems as the tests start it: from these sources, or as scripts/test has bundled them once for all.
import { dirname, join, resolve } from 'node:path'
import { makeTempFolder } from './peers/child.ts'

export const sources = resolve(import.meta.dirname, '../src/main.ts')

/** For what wraps modules that a bundle has inside, there are the `sources`. */
export const main = process.env.PROGRAM_UNDER_TEST ?? sources

/** acmems-install, of the same. */
export const installMain = join(dirname(main), main === sources ? 'install-main.ts' : 'acmems-install.js')

/** What names no state of its own keeps out of the machine's: an acmems may be at work here. */
process.env.STATE_DIRECTORY ??= makeTempFolder('default-state').path
