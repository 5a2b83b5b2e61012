import type { Owner } from '../config/certificate-options.ts'
import type { Config } from '../config/config.ts'

/** `[process]`: which parts are processes of their own, as whom when root starts them, and where they are asked. */
export function describeProcesses({ process: parts }: Config) {
  return {
    users: {
      server: nameOf(parts['user-server']),
      responder: nameOf(parts['user-responder']),
      accountd: nameOf(parts['user-accountd']),
    },
    responder: parts.responder ?? null,
    installer: parts.installer ?? null,
    firewall: parts.firewall ?? null,
  }
}

export function processLines(
  { users, ...sockets }: ReturnType<typeof describeProcesses>,
  { mgmtTls }: Config,
): string[] {
  const named = Object.entries(users).flatMap(([part, user]) => (user === null ? [] : [`${part} as ${user}`]))
  const but = mgmtTls?.managed === undefined ? '' : ` (but for "${mgmtTls.managed}", the server's own)`
  const lines: readonly [string | null, string][] = [
    [sockets.responder, 'validations: answered by acmems responder, which asks'],
    [sockets.installer, `keys of certificates${but}: made, kept and installed by acmems-install`],
    [sockets.firewall, 'ports of validations: opened for as long as they take by acmems firewall'],
  ]
  return [
    ...(named.length === 0 ? [] : [`started by root, each part is a process of its own: ${named.join(', ')}`]),
    ...lines.flatMap(([path, does]) => (path === null ? [] : [`${does} at ${path}`])),
  ]
}

function nameOf(as: Owner | undefined): string | null {
  if (as === undefined) return null
  return as.group === undefined ? as.user : `${as.user}:${as.group}`
}
