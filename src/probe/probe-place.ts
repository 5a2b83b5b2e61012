import { isIP } from 'node:net'
import type { ProbeScheme, ProbeTarget } from './probe-target.ts'

/** One thing to connect to. */
export type ProbePlace = {
  readonly scheme: ProbeScheme
  readonly host: string
  readonly port: number
  /** undefined: nothing is asked for by name, as for a certificate of addresses. */
  readonly serverName: string | undefined
}

const maxNames = 10

/**
 * The places that a target means for a certificate with these names.
 * @param callers addresses that picked it up
 */
export function placesOf(target: ProbeTarget, names: readonly string[], callers: readonly string[]): ProbePlace[] {
  const { scheme, port, at } = target
  if (at === 'names') {
    // A wildcard is the name of no host.
    const concrete = names.filter((name) => !name.startsWith('*.')).slice(0, maxNames)
    return concrete.map((host) => ({ scheme, host, port, serverName: target.serverName ?? serverNameOf(host, names) }))
  }
  const hosts = at === 'caller' ? callers.filter((address) => isIP(address) !== 0) : [at.host]
  return hosts.map((host) => ({ scheme, host, port, serverName: target.serverName ?? serverNameOf(host, names) }))
}

/** As a target is written. */
export function describePlace({ scheme, host, port, serverName }: ProbePlace): string {
  const name = serverName === undefined || serverName === host ? '' : `${serverName}@`
  const shownHost = isIP(host) === 6 ? `[${host}]` : host
  return `${scheme === 'tls' ? '' : `${scheme}://`}${name}${shownHost}:${port}`
}

/** RFC 6066 §3: never an address. */
function serverNameOf(host: string, names: readonly string[]): string | undefined {
  const wildcards = names.filter((name) => name.startsWith('*.'))
  if (names.includes(host)) return isIP(host) === 0 ? host : undefined
  if (isIP(host) === 0 && wildcards.some((name) => host.slice(host.indexOf('.')) === name.slice(1))) return host
  const concrete = names.find((name) => isIP(name) === 0 && !name.startsWith('*.'))
  return concrete ?? wildcards[0]?.replace('*', 'www')
}
