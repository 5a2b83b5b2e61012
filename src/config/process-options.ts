import { checkSocketPath } from '../channel/socket-path.ts'
import type { Option, OptionValues } from '../plugin-api.ts'
import { parseAbsolutePath } from '../plugins/option-values.ts'
import { type Owner, parseOwner } from './certificate-options.ts'

const user = (meaning: string): Option<Owner> => ({
  meaning: `started as root: the user (or user:group) that ${meaning}`,
  type: 'user',
  parse: parseOwner,
})

const socket = (meaning: string): Option<string> => ({ meaning, type: 'path of a socket', parse: parseSocketPath })

/** `[process]`: which parts of the server are processes of their own, and whose. */
export const processOptions = {
  'user-server': user('the server itself runs as; the host keys of [certificate] sections then stay with root'),
  'user-responder': user('answers the validations'),
  'user-accountd': user('holds the account key'),
  'accountd-config': {
    meaning: 'the configuration of accountd, when it is started here',
    type: 'path',
    default: '/etc/acmems/accountd.conf',
    parse: parseAbsolutePath,
  },
  'run-directory': {
    meaning: 'where the sockets between the parts are made, when they are started here',
    type: 'path',
    default: '/run/acmems',
    parse: parseAbsolutePath,
  },
  responder: socket(
    'the socket at which "acmems responder" asks for answers; without it the server answers validations itself',
  ),
  installer: socket(
    'the socket of "acmems-install", which has the keys of [certificate] sections and installs them; without it the server does',
  ),
  'installer-state': {
    meaning:
      'where "acmems-install" keeps what it remembers, and the keys of certificates that are asked for: root\'s alone',
    type: 'path',
    default: '/var/lib/acmems-install',
    parse: parseAbsolutePath,
  },
  firewall: socket(
    'the socket of "acmems firewall", which opens the ports of validations for as long as they take; without it no port is opened',
  ),
} as const satisfies Record<string, Option<unknown>>

export type ProcessValues = OptionValues<typeof processOptions>

/** @returns what does not go together, for the section's place */
export function findProcessTrouble(values: ProcessValues): string[] {
  const users = ['user-server', 'user-responder', 'user-accountd'] as const
  const given = users.filter((key) => values[key] !== undefined)
  const alone =
    given.length > 0 && values['user-server'] === undefined
      ? [`${given.join(' and ')} without user-server: the server would stay root, and could read all that they hide`]
      : []
  const same = given.flatMap((key, index) =>
    given
      .slice(index + 1)
      .filter((other) => values[other]?.user === values[key]?.user)
      .map((other) => [key, other]),
  )
  return [...alone, ...same.map(([key, other]) => `${key} and ${other} are one user: each could do what the other can`)]
}

function parseSocketPath(text: string): string {
  const path = parseAbsolutePath(text)
  checkSocketPath(path)
  return path
}
