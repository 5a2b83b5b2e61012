import { CommanderError } from 'commander'
import { UsageError } from './cli/usage-error.ts'
import { createProgram } from './program.ts'

let argv = process.argv.slice(2)

// Whoever reads has seen enough (`| head`): that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exitCode ??= 0
})

try {
  // Said by whoever started us with less than it has itself: a part of the server that kept more does not run.
  if (argv[0] === '--confined') {
    const { proveDrop } = await import('./parts/proof-of-drop.ts')
    proveDrop(argv[1] ?? '')
    argv = argv.slice(2)
  }
  const program = await createProgram(argv[0] ?? '')
  await program.parseAsync(argv, { from: 'user' })
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2
  } else {
    process.stderr.write(`acmems: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = error instanceof UsageError ? 2 : 1
  }
}
