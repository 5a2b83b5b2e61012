import { errorCode } from './error-code.ts'
import type { Listener } from './http/listener.ts'
import type { Logger } from './plugin-api.ts'

/** The open listeners of one kind; a change opens what is new before it closes what is gone. */
export interface ListenerSet {
  readonly listeners: readonly Listener[]
  /** As they were asked for. */
  readonly addresses: readonly string[]
  /**
   * @param modeOf how an address listens; where that changed it is opened again, what is connected goes on as it was
   * @throws Error when an address cannot be had; everything is then as before
   */
  change(addresses: readonly string[], modeOf?: (address: string) => ListenerMode): Promise<void>
  close(graceMs: number): Promise<void>
}

export type ListenerMode = 'plain' | 'tls' | 'tls that asks for a certificate'
type ModeOf = (address: string) => ListenerMode
type Open = { readonly listener: Listener; readonly mode: ListenerMode }

/** @param openAt opens one listener. @throws Error that says why it cannot */
export function createListenerSet(
  openAt: (address: string, mode: ListenerMode) => Promise<Listener>,
  log: Logger,
): ListenerSet {
  const open = new Map<string, Open>()
  const openAs = async (address: string, mode: ListenerMode) => ({ listener: await openAt(address, mode), mode })

  async function openNew(addresses: readonly string[], modeOf: ModeOf): Promise<Map<string, Open>> {
    const opened = new Map<string, Open>()
    const unavailable: unknown[] = []
    for (const address of addresses) {
      if (open.has(address) || opened.has(address)) continue
      try {
        opened.set(address, await openAs(address, modeOf(address)))
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

  function takeAway(some: readonly [string, Open][]): void {
    for (const [address] of some) open.delete(address)
    void closeAll(
      some.map(([, one]) => one),
      removedGraceMs,
    )
  }

  return {
    get listeners() {
      return [...open.values()].map(({ listener }) => listener)
    },
    get addresses() {
      return [...open.keys()]
    },
    async change(addresses, modeOf = () => 'plain') {
      const switched = [...open].filter(
        ([address, { mode }]) => addresses.includes(address) && modeOf(address) !== mode,
      )
      // An address is free for the next one as soon as nothing new is accepted there.
      takeAway(switched)
      let opened: Map<string, Open>
      try {
        opened = await openNew(addresses, modeOf)
      } catch (error) {
        for (const [address, { mode }] of switched) open.set(address, await openAs(address, mode))
        throw error
      }
      for (const [address, one] of opened) open.set(address, one)
      takeAway([...open].filter(([address]) => !addresses.includes(address)))
    },
    async close(graceMs) {
      await closeAll(open.values(), graceMs)
      open.clear()
    },
  }
}

const removedGraceMs = 30_000

async function closeAll(some: Iterable<Open>, graceMs: number): Promise<void> {
  await Promise.all([...some].map(({ listener }) => listener.close(graceMs)))
}

function isMissingIpv6(address: string, error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  const code = errorCode(cause)
  return address.startsWith('[') && (code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT')
}
