// node scripts/run-tests.ts COUNTS GLOB...: what `node --test` does with the spec reporter, but the longest files first.
// That one goes by the alphabet, so that files which only wait come all at once, and a long one may be the last.
// COUNTS is a file for the line that says how it went.
import { createWriteStream, globSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import countReporter from './count-reporter.ts'
import { longestFirst } from './test-order.ts'

const root = resolve(import.meta.dirname, '..')
/** On two cores: most files wait for other programs a good part of their time. */
const atOnce = 4
const timeoutMs = 300_000

const [countsFile = '', ...globs] = process.argv.slice(2)
const files = longestFirst(globSync(globs, { cwd: root }))
if (files.length === 0) {
  process.stderr.write(`there is no ${globs.join(', ')}\n`)
  process.exit(1)
}
const results = run({
  files: files.map((file) => resolve(root, file)),
  concurrency: atOnce,
  timeout: timeoutMs,
  // For the tests in them.
  execArgv: [`--test-timeout=${timeoutMs}`],
})
results.on('test:summary', ({ success }) => {
  if (!success) process.exitCode = 1
})
const counts = createWriteStream(countsFile)
results.compose<Readable>(countReporter).pipe(counts)
results.compose(new spec()).pipe(process.stdout)
await finished(counts)
