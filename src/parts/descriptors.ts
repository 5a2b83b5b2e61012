import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

const closeOnExec = 0o2000000
const folder = '/proc/self/fd'

/**
 * Closes what whoever started us left open and no program of ours would know of: it would be handed on to every part.
 * Our own descriptors are those that end with exec.
 */
export function closeStrays(): number[] {
  const strays = openDescriptors().filter((fd) => fd > 2 && !isOurs(fd))
  for (const fd of strays) closeSync(fd)
  return strays
}

/** Sockets that are open now. */
export function socketDescriptors(): Map<number, string> {
  const sockets = new Map<number, string>()
  for (const fd of openDescriptors()) {
    const target = targetOf(fd)
    if (target?.startsWith('socket:') === true) sockets.set(fd, target)
  }
  return sockets
}

function openDescriptors(): number[] {
  // The folder that is being read is open, too, and gone by the time that it is looked at.
  return readdirSync(folder)
    .map(Number)
    .filter((fd) => targetOf(fd) !== undefined)
}

function targetOf(fd: number): string | undefined {
  try {
    return readlinkSync(`${folder}/${fd}`)
  } catch {
    return undefined
  }
}

function isOurs(fd: number): boolean {
  try {
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
    return (Number.parseInt(flags ?? '0', 8) & closeOnExec) !== 0
  } catch {
    return true
  }
}
