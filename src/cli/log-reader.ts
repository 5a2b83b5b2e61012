import { fstatSync } from 'node:fs'
import { environment } from '../config/environment.ts'
import type { LogReader } from '../log.ts'

/** Who reads what we log there: JOURNAL_STREAM names what systemd connected to its journal (systemd.exec(5)). */
export function logReader(destination = 'stdout'): LogReader {
  if (destination !== 'stdout' && destination !== 'stderr') return 'program'
  const { isTTY, fd } = process[destination]
  if (isTTY) return 'terminal'
  const { dev, ino } = fstatSync(fd)
  return environment.JOURNAL_STREAM === `${dev}:${ino}` ? 'journal' : 'program'
}
