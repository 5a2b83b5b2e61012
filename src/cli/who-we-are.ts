import { readFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { environment } from '../config/environment.ts'
import type { Runner } from '../lacme/specifiers.ts'

/** For lacme's specifiers: who runs us, by the system's own lists. */
export function whoWeAre(): Runner {
  const { uid, gid, username } = userInfo()
  const group = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[2] === String(gid))?.[0]
  return { uid, gid, user: username, group: group ?? String(gid), home: homedir(), environment }
}
