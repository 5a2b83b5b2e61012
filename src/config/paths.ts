import { join } from 'node:path'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Where state lies when the configuration does not say: systemd's StateDirectory, /var/lib/acmems as root, the user's
 * XDG state folder otherwise.
 */
export function defaultStateFolder(environment: Environment, isRoot: boolean): string {
  const stateDirectory = environment.STATE_DIRECTORY?.split(':')[0]
  if (stateDirectory !== undefined && stateDirectory !== '') return stateDirectory
  if (isRoot) return '/var/lib/acmems'
  const home = environment.HOME ?? '.'
  return join(environment.XDG_STATE_HOME || join(home, '.local', 'state'), 'acmems')
}

/** Files whose roots a CA is trusted by, as acmems and lego name them. */
export function trustedCaFiles(environment: Environment): string[] {
  return [environment.ACME_CAFILE, ...(environment.LEGO_CA_CERTIFICATES ?? '').split(':')].filter(
    (path): path is string => path !== undefined && path !== '',
  )
}
