import { execFile } from 'node:child_process'
import type { Logger } from './plugin-api.ts'

/** sd_notify(3), when the service manager asked for it by NOTIFY_SOCKET; otherwise nothing. */
export interface SystemdNotifier {
  ready(): void
  stopping(): void
}

/**
 * Node.js cannot send to a UNIX datagram socket, so systemd's own tool does; the unit needs `NotifyAccess=all`.
 * With WATCHDOG_USEC a sign of life goes out twice in that time, from the event loop that serves.
 */
export function createSystemdNotifier(
  environment: Readonly<Record<string, string | undefined>>,
  log: Logger,
): SystemdNotifier {
  if (environment.NOTIFY_SOCKET === undefined) return { ready: () => undefined, stopping: () => undefined }
  const send = (...states: string[]) => {
    execFile('systemd-notify', states, { env: { ...environment } as NodeJS.ProcessEnv }, (error) => {
      if (error !== null) log.warn('systemd was not notified', { states, error })
    })
  }
  const watchdogMs = Number(environment.WATCHDOG_USEC ?? 0) / 1000
  const ours = environment.WATCHDOG_PID === undefined || environment.WATCHDOG_PID === String(process.pid)
  if (watchdogMs > 0 && ours) setInterval(() => send('WATCHDOG=1'), watchdogMs / 2).unref()
  return {
    ready: () => send('--ready', `--pid=${process.pid}`),
    stopping: () => send('STOPPING=1'),
  }
}
