import { fstatSync } from 'node:fs'
import { isatty } from 'node:tty'
import { environment } from '../config/environment.ts'
import type { LogReader } from '../log.ts'

/** Who reads what we log there: JOURNAL_STREAM names what systemd connected to its journal (systemd.exec(5)). */
export function logReader(destination = 'stdout'): LogReader {
  if (destination !== 'stdout' && destination !== 'stderr') return 'program'
  const descriptor = destination === 'stdout' ? 1 : 2
  if (isatty(descriptor)) return 'terminal'
  const { dev, ino } = fstatSync(descriptor)
  return environment.JOURNAL_STREAM === `${dev}:${ino}` ? 'journal' : 'program'
}
