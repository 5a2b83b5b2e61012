import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Clock } from '../plugin-api.ts'
import { isPublicAddress } from './public-address.ts'

/** One place to connect to; looked up once, so that what was allowed is what is asked. */
export type Place = { readonly address: string; readonly port: number }

/** `unknown`: why there is no place to ask. */
export type Places = { readonly places: readonly Place[] } | { readonly unknown: string }

export type FindPlaces = (host: string, port: number) => Promise<Places>

export type PlaceSettings = {
  /** `address:port` of the DNS resolver; the system's otherwise. */
  readonly resolver: string | undefined
  /** Where validators begin. */
  readonly firstPort: 80 | 443
  /** Asked instead of the name's own addresses. */
  readonly instead: { readonly host: string; readonly port: number | undefined } | undefined
  /** May be asked although it is not public. */
  isAllowed(address: string): boolean
}

const resolverTimeoutMs = 1500
const resolverLifetimeMs = 60_000
const unresolvedMs = 5000
const silentMs = 30_000
const maxRemembered = 2000
const maxAddresses = 8

/** Finds where a name's validators would connect to, as seen from here. */
export function createPlaceFinder(settings: PlaceSettings, clock: Pick<Clock, 'monotonicMs'>): FindPlaces {
  const lookUp = createLookUp(settings.resolver, clock)
  return async (host, port) => {
    const { instead } = settings
    const found = await lookUp(instead?.host ?? host)
    if ('unknown' in found) return found
    const usable = found.addresses.filter(
      (address) => instead !== undefined || isPublicAddress(address) || settings.isAllowed(address),
    )
    if (usable.length === 0)
      return { unknown: `${host} is ${found.addresses[0]} here, which is no public address: not asked` }
    // Where a redirect leads keeps its own port.
    const at = port === settings.firstPort ? (instead?.port ?? port) : port
    return { places: usable.slice(0, maxAddresses).map((address) => ({ address, port: at })) }
  }
}

type Found = { readonly addresses: readonly string[] } | { readonly unknown: string }

/** What does not resolve is remembered for a moment: hosts ask for many names that are known only outside. */
function createLookUp(server: string | undefined, clock: Pick<Clock, 'monotonicMs'>): (name: string) => Promise<Found> {
  const unresolved = new Map<string, { readonly unknown: string; readonly untilMs: number }>()
  let silent = { unknown: '', untilMs: Number.NEGATIVE_INFINITY }
  let made: { readonly resolver: Resolver; readonly atMs: number } | undefined

  function currentResolver(): Resolver {
    const nowMs = clock.monotonicMs()
    // The system's settings may have changed.
    if (made === undefined || nowMs - made.atMs > resolverLifetimeMs) {
      made = { resolver: new Resolver({ timeout: resolverTimeoutMs, tries: 1 }), atMs: nowMs }
      if (server !== undefined) made.resolver.setServers([server])
    }
    return made.resolver
  }

  return async (name) => {
    if (isIP(name) !== 0) return { addresses: [name] }
    const nowMs = clock.monotonicMs()
    if (silent.untilMs > nowMs) return { unknown: silent.unknown }
    const known = unresolved.get(name)
    if (known !== undefined && known.untilMs > nowMs) return { unknown: known.unknown }
    const resolver = currentResolver()
    const [v6, v4] = await Promise.allSettled([resolver.resolve6(name), resolver.resolve4(name)])
    // Validators prefer IPv6, so a family that could not be asked about may be the one that counts.
    const failures = [v6, v4].flatMap((one) => (one.status === 'rejected' ? [codeOf(one.reason)] : []))
    const serious = failures.find((code) => code !== 'ENODATA' && code !== 'ENOTFOUND')
    if (serious === undefined && failures.length < 2)
      return { addresses: [v6, v4].flatMap((one) => (one.status === 'fulfilled' ? one.value : [])) }
    const unknown =
      serious === undefined ? `${name} does not resolve here` : `${name} could not be looked up (${serious})`
    const asked = clock.monotonicMs()
    if (serious === 'ETIMEOUT' || serious === 'ECONNREFUSED') silent = { unknown, untilMs: asked + silentMs }
    if (unresolved.size >= maxRemembered) unresolved.clear()
    unresolved.set(name, { unknown, untilMs: asked + unresolvedMs })
    return { unknown }
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'failed'
}
