import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Owner } from '../config/certificate-options.ts'
import type { FileOwner } from '../durable-file.ts'

const run = promisify(execFile)

/**
 * The numbers of a user and a group, as the system knows them: wherever it has its users from. A user without a group
 * means the user's own.
 * @throws Error naming who is not there
 */
export async function findOwner({ user, group }: Owner): Promise<FileOwner> {
  const uid = await ask('id', ['-u', '--', user], `the user ${user}`)
  if (group === undefined) return { uid, gid: await ask('id', ['-g', '--', user], `the group of ${user}`) }
  if (/^\d+$/.test(group)) return { uid, gid: Number(group) }
  return { uid, gid: await ask('getent', ['group', '--', group], `the group ${group}`) }
}

async function ask(command: string, args: readonly string[], what: string): Promise<number> {
  // getent: name:password:number:members
  const number = await run(command, args).then(
    ({ stdout }) => /^(?:[^:\n]*:[^:\n]*:)?(\d+)\b/.exec(stdout)?.[1],
    () => undefined,
  )
  if (number === undefined) throw new Error(`this machine does not know ${what} (owner)`)
  return Number(number)
}
