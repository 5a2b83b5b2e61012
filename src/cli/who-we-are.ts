import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { environment } from '../config/environment.ts'
import type { Runner } from '../lacme/specifiers.ts'

/** For lacme's specifiers: who runs us, by the system's own lists. */
export function whoWeAre(): Runner {
  const { uid, gid, username, home } = ownUser()
  const group = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[2] === String(gid))?.[0]
  return { uid, gid, user: username, group: group ?? String(gid), home, environment }
}

/** A user that the system does not know (in a container) has a number, and no more. */
function ownUser(): { uid: number; gid: number; username: string; home: string } {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0]
  try {
    const { username, homedir: home } = userInfo()
    return { uid, gid, username, home }
  } catch {
    return { uid, gid, username: String(uid), home: environment.HOME ?? '/' }
  }
}
