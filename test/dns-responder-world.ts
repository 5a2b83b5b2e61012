// The DNS responder over a state of its own, without the rest of the server.
import { join } from 'node:path'
import { dns01Prefix } from '../src/acme/answer-record.ts'
import type { ResponderZone } from '../src/plugin-api.ts'
import { type DnsListener, openDnsListener } from '../src/responder/dns-listener.ts'
import { type AnswerPacket, createDnsResponder } from '../src/responder/dns-responder.ts'
import type { ResponseRateLimits } from '../src/responder/response-rates.ts'
import { openState, type State } from '../src/state/state.ts'
import { makeTempFolder } from './peers/child.ts'

export interface DnsWorld extends AsyncDisposable {
  readonly state: State
  readonly answer: AnswerPacket
  readonly listener: DnsListener
  readonly port: number
  readonly errors: unknown[]
  /** A value of `_acme-challenge.NAME`. */
  put(name: string, value: string, lifetimeMs?: number): Promise<void>
  remove(name: string, value: string): Promise<void>
}

export const testZone: ResponderZone = {
  name: 'acme.example.net',
  nameServers: ['ns1.example.net', 'ns2.example.net'],
  hostmaster: 'dns.admin@example.net',
}

export async function makeDnsWorld(
  zones: readonly ResponderZone[] = [testZone],
  rateLimits?: ResponseRateLimits,
): Promise<DnsWorld> {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(makeTempFolder('dns')).path
  const state = stack.use(await openState(`sqlite:${join(folder, 'state.db')}`, () => Date.now()))
  const errors: unknown[] = []
  const monotonicMs = () => performance.now()
  const answer = createDnsResponder({
    zones: () => zones,
    records: {
      find: (owner, otherOwner) => state.answers.findTexts(owner, otherOwner, Date.now()),
      hasBelow: (name, otherName) => state.answers.hasTextBelow(name, otherName, Date.now()),
    },
    monotonicMs,
    onError: (error) => errors.push(error),
    ...(rateLimits === undefined ? {} : { rateLimits }),
  })
  const listener = await openDnsListener('127.0.0.1:0', answer, monotonicMs)
  stack.defer(() => listener.close(0))
  const owned = stack.move()
  const record = (name: string, value: string) =>
    ({ type: 'dns-01', token: value, host: `${dns01Prefix}${name}` }) as const
  return {
    state,
    answer,
    listener,
    errors,
    port: Number(listener.boundAddress.split(':').at(-1)),
    put: (name, value, lifetimeMs = 60_000) =>
      state.answers.put({ ...record(name, value), keyAuthorization: value, expiresAtMs: Date.now() + lifetimeMs }),
    remove: (name, value) => state.answers.remove(record(name, value)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
