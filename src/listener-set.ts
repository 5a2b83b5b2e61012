import type { Listener } from './http/listener.ts'
import type { Logger } from './plugin-api.ts'

/** The open listeners of one kind; a change opens what is new before it closes what is gone. */
export interface ListenerSet {
  readonly listeners: readonly Listener[]
  /** As they were asked for. */
  readonly addresses: readonly string[]
  /** @throws Error when an address cannot be had; everything is then as before */
  change(addresses: readonly string[]): Promise<void>
  close(graceMs: number): Promise<void>
}

/** @param openAt opens one listener. @throws Error that says why it cannot */
export function createListenerSet(openAt: (address: string) => Promise<Listener>, log: Logger): ListenerSet {
  const open = new Map<string, Listener>()

  async function openNew(addresses: readonly string[]): Promise<Map<string, Listener>> {
    const opened = new Map<string, Listener>()
    const unavailable: unknown[] = []
    for (const address of addresses) {
      if (open.has(address) || opened.has(address)) continue
      try {
        opened.set(address, await openAt(address))
      } catch (error) {
        // Defaults name an IPv6 address beside an IPv4 one; a machine without IPv6 is no reason not to start.
        if (!isMissingIpv6(address, error)) {
          await closeAll(opened.values(), 0)
          throw error
        }
        unavailable.push(error)
      }
    }
    if (unavailable.length > 0 && opened.size === 0 && open.size === 0) throw unavailable[0]
    for (const error of unavailable) log.warn('an IPv6 listener is left out', { error })
    return opened
  }

  return {
    get listeners() {
      return [...open.values()]
    },
    get addresses() {
      return [...open.keys()]
    },
    async change(addresses) {
      const opened = await openNew(addresses)
      const gone = [...open].filter(([address]) => !addresses.includes(address))
      for (const [address, listener] of opened) open.set(address, listener)
      for (const [address] of gone) open.delete(address)
      void closeAll(
        gone.map(([, listener]) => listener),
        removedGraceMs,
      )
    },
    async close(graceMs) {
      await closeAll(open.values(), graceMs)
      open.clear()
    },
  }
}

const removedGraceMs = 30_000

async function closeAll(listeners: Iterable<Listener>, graceMs: number): Promise<void> {
  await Promise.all([...listeners].map((listener) => listener.close(graceMs)))
}

function isMissingIpv6(address: string, error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  return address.startsWith('[') && (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT')
}
