import type { ChallengeType } from './acme/challenge.ts'
import { type Listener, openListener } from './http/listener.ts'
import { createListenerSet, type ListenerSet } from './listener-set.ts'
import type { PluginContext, ResponderZone } from './plugin-api.ts'
import { createChallengeCertificates } from './responder/challenge-certificates.ts'
import { openDnsListener } from './responder/dns-listener.ts'
import { createDnsResponder } from './responder/dns-responder.ts'
import type { LiveAnswers } from './responder/live-answers.ts'
import { createResponder } from './responder/responder.ts'
import { createSeldomLog } from './responder/seldom-log.ts'
import { openTlsAlpnListener, type TlsAlpnParts } from './responder/tls-alpn-responder.ts'
import type { ResponderSetup, Responders } from './responder-addresses.ts'

/** Responders in this process. */
export interface OwnResponders extends Responders {
  /** Does what can be done. @returns why an address could not be had; the others are open */
  changeWhatCan(setup: ResponderSetup): Promise<unknown[]>
}

const limits = { maxConnections: 500, requestTimeoutMs: 5000 }

/** Answers by HTTP, TLS and DNS, wherever the answers come from. */
export function createResponders(
  answers: LiveAnswers,
  context: Pick<PluginContext, 'clock' | 'log' | 'randomBytes'>,
): OwnResponders {
  const { clock, log } = context
  let zones: readonly ResponderZone[] = []
  const onError = createSeldomLog('answers cannot be looked up', log, clock)
  const http01 = createResponder(answers.find, onError)
  const tlsAlpn01: TlsAlpnParts = {
    findShown: answers.shown,
    certificates: createChallengeCertificates(context),
    onError,
  }
  const monotonicMs = () => clock.monotonicMs()
  const dns01 = createDnsResponder({ zones: () => zones, records: answers.texts, monotonicMs, onError })
  const open: Readonly<Partial<Record<ChallengeType, (address: string) => Promise<Listener>>>> = {
    'http-01': (address) => openListener(address, http01, limits),
    'tls-alpn-01': (address) => openTlsAlpnListener(address, tlsAlpn01, limits),
    'dns-01': (address) => openDnsListener(address, dns01, monotonicMs),
  }
  const sets = Object.entries(open).map(([type, openAt]) => ({
    type: type as ChallengeType,
    set: createListenerSet(openAt, log),
  }))

  async function change(setup: ResponderSetup): Promise<void> {
    const changed: { readonly set: ListenerSet; readonly before: string[] }[] = []
    try {
      for (const { type, set } of sets) {
        const before = [...set.addresses]
        await set.change(setup.addresses[type] ?? [])
        changed.push({ set, before })
      }
    } catch (error) {
      for (const { set, before } of changed) await set.change(before)
      throw error
    }
    zones = setup.zones
  }

  async function changeWhatCan(setup: ResponderSetup): Promise<unknown[]> {
    const failures: unknown[] = []
    zones = setup.zones
    for (const { type, set } of sets) {
      const wanted = setup.addresses[type] ?? []
      for (const address of wanted)
        await set.change([...set.addresses, address]).catch((error: unknown) => failures.push(error))
      await set.change(wanted.filter((address) => set.addresses.includes(address)))
    }
    return failures
  }

  return {
    get addresses() {
      return Object.fromEntries(
        sets.map(({ type, set }) => [type, set.listeners.map(({ boundAddress }) => boundAddress)]),
      )
    },
    change,
    // They are answered from the moment that change() is done.
    answering: async () => undefined,
    changeWhatCan,
    async close() {
      for (const { set } of sets) await set.close(0)
    },
  }
}
