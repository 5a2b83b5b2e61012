import { identifiersOf } from '../config/certificate-options.ts'
import type { CertificateSection } from '../config/config.ts'
import { runHook } from '../hook-run.ts'
import type { PluginContext } from '../plugin-api.ts'
import { searchPath } from '../search-path.ts'
import type { Chain } from '../x509/chain.ts'

/** What a hook is told of a certificate. */
export type HookFacts = {
  readonly name: string
  readonly names: readonly string[]
  readonly serial: string
  readonly notBefore: string
  readonly notAfter: string
  readonly files: Readonly<Record<string, string>>
}

const outputs = ['directory', 'key', 'certificate', 'chain', 'fullchain', 'pkcs12'] as const

export function hookFacts(section: CertificateSection, { leaf }: Chain): HookFacts {
  const { values } = section
  return {
    name: section.name,
    names: identifiersOf(values).map(({ value }) => value),
    serial: leaf.serial,
    notBefore: new Date(leaf.notBeforeMs).toISOString(),
    notAfter: new Date(leaf.notAfterMs).toISOString(),
    files: Object.fromEntries(
      outputs.flatMap((output): [string, string][] => {
        const path = values[output]
        return path === undefined ? [] : [[output, path]]
      }),
    ),
  }
}

/**
 * The environment of a hook, all of it: lists have blanks between; what is of one certificate is there when it is only
 * about one; ACMEMS_FACTS has everything as JSON.
 */
export function hookEnvironment(facts: readonly HookFacts[]): Record<string, string> {
  const [only, ...more] = facts
  const single =
    only === undefined || more.length > 0
      ? {}
      : {
          ACMEMS_SERIAL: only.serial,
          ACMEMS_NOT_BEFORE: only.notBefore,
          ACMEMS_NOT_AFTER: only.notAfter,
          ...Object.fromEntries(
            Object.entries(only.files).map(([output, path]) => [`ACMEMS_${output.toUpperCase()}_PATH`, path]),
          ),
        }
  return {
    PATH: searchPath,
    LANG: 'C.UTF-8',
    ACMEMS_CERTIFICATES: facts.map(({ name }) => name).join(' '),
    ACMEMS_NAMES: [...new Set(facts.flatMap(({ names }) => names))].join(' '),
    ACMEMS_FACTS: JSON.stringify(facts),
    ...single,
  }
}

/** Lets /bin/sh run it. @throws ProblemError with the end of what it wrote */
export async function runCommand(
  command: string,
  facts: readonly HookFacts[],
  timeoutMs: number,
  context: PluginContext,
): Promise<void> {
  await runHook(
    {
      command: '/bin/sh',
      args: ['-c', command],
      env: hookEnvironment(facts),
      timeoutMs,
      secrets: new Map(),
      problemCode: 'serverInternal',
    },
    context,
  )
}
