import { identifiersOf } from '../config/certificate-options.ts'
import { formatFinding } from '../config/finding.ts'
import { outputPaths } from '../managed/output-files.ts'
import type { InstallerConfig } from './configuration.ts'

/** What the installer looks after, in words. */
export function describeInstaller({ certificates, others, socket, stateFolder, warnings }: InstallerConfig): string {
  const lines = certificates.flatMap(({ name, values }) => [
    `certificate "${name}": ${identifiersOf(values)
      .map(({ value }) => value)
      .join(', ')}`,
    ...outputPaths(values).map((path) => `  installs ${path}`),
    values['ca-file'] === undefined
      ? '  leads wherever the server says: ca-file = PATH would pin its roots'
      : `  leads to a root of ${values['ca-file']}`,
    ...(values.check === undefined ? [] : [`  checked by: ${values.check}`]),
    ...(values.hook === undefined ? [] : [`  then runs: ${values.hook}`]),
  ])
  const rest = [...others].map(([name, why]) => `certificate "${name}" is left to the server: ${why}`)
  const places = [`socket: ${socket ?? 'as --socket says'}`, `own folder: ${stateFolder}`]
  return `${[...warnings.map(formatFinding), ...places, ...lines, ...rest].join('\n')}\nthe configuration can be used\n`
}
