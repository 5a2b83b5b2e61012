import type { ChallengeType } from './acme/challenge.ts'
import { type Listener, openListener } from './http/listener.ts'
import type { Installation } from './installation.ts'
import { createListenerSet, type ListenerSet } from './listener-set.ts'
import type { ResponderZone } from './plugin-api.ts'
import { createChallengeCertificates } from './responder/challenge-certificates.ts'
import { openDnsListener } from './responder/dns-listener.ts'
import { createDnsResponder } from './responder/dns-responder.ts'
import { createResponder } from './responder/responder.ts'
import { openTlsAlpnListener, type TlsAlpnParts } from './responder/tls-alpn-responder.ts'
import { createTokenRelay, type RelayToken } from './responder/token-relay.ts'
import type { ResponderAddresses } from './responder-addresses.ts'

/** What answers the CA's questions about names. */
export interface Responders {
  /** Where it listens, with the ports really taken. */
  readonly addresses: ResponderAddresses
  /** @throws Error when an address cannot be had; everything is then as before */
  change(addresses: ResponderAddresses): Promise<void>
  /** Which other responders to ask for tokens that nobody here left. */
  relayTo(relays: readonly string[]): void
  close(): Promise<void>
}

const limits = { maxConnections: 500, requestTimeoutMs: 5000 }

/** @param zones what DNS has authority for, asked for each question */
export function createResponders({ state, context }: Installation, zones: () => readonly ResponderZone[]): Responders {
  const { clock, log } = context
  const onError = (error: unknown) => log.error('answers cannot be looked up', { error })
  let relay: RelayToken | undefined
  const http01 = createResponder(
    (question) => state.answers.find(question, clock.nowMs()),
    onError,
    async (question) => relay?.(question),
  )
  const tlsAlpn01: TlsAlpnParts = {
    findShown: state.answers.shown,
    certificates: createChallengeCertificates(context),
    onError,
  }
  const monotonicMs = () => clock.monotonicMs()
  const dns01 = createDnsResponder({
    zones,
    records: {
      find: (owner, otherOwner) => state.answers.findTexts(owner, otherOwner, clock.nowMs()),
      hasBelow: (name, otherName) => state.answers.hasTextBelow(name, otherName, clock.nowMs()),
    },
    monotonicMs,
    onError,
  })
  const open: Readonly<Partial<Record<ChallengeType, (address: string) => Promise<Listener>>>> = {
    'http-01': (address) => openListener(address, http01, limits),
    'tls-alpn-01': (address) => openTlsAlpnListener(address, tlsAlpn01, limits),
    'dns-01': (address) => openDnsListener(address, dns01, monotonicMs),
  }
  const sets = Object.entries(open).map(([type, openAt]) => ({
    type: type as ChallengeType,
    set: createListenerSet(openAt, log),
  }))

  async function change(addresses: ResponderAddresses): Promise<void> {
    const changed: { readonly set: ListenerSet; readonly before: string[] }[] = []
    try {
      for (const { type, set } of sets) {
        const before = [...set.addresses]
        await set.change(addresses[type] ?? [])
        changed.push({ set, before })
      }
    } catch (error) {
      for (const { set, before } of changed) await set.change(before)
      throw error
    }
  }

  return {
    get addresses() {
      return Object.fromEntries(
        sets.map(({ type, set }) => [type, set.listeners.map(({ boundAddress }) => boundAddress)]),
      )
    },
    change,
    relayTo(relays) {
      relay = relays.length === 0 ? undefined : createTokenRelay(relays, context)
    },
    async close() {
      for (const { set } of sets) await set.close(0)
    },
  }
}
