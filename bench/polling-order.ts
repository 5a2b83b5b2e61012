// What polling.ts and polling-generator.ts say to each other.

/** What a host asks: whether it has the certificate of its request, or whether its box has changed. */
export const pollKinds = ['sign', 'signed sign', 'box', 'signed box'] as const
export type PollKind = (typeof pollKinds)[number]

/** A connection that is kept, or a new one with a TLS handshake for every request, as cron and curl have it. */
export type Transport = 'kept' | 'fresh'

export type PollingHost = {
  /** PEM: what it posts. */
  readonly csr: string
  /** PEM: what it signs with. */
  readonly key: string
  readonly keyId: string
  /** Of both of its boxes. */
  readonly etag: string
}

export type PollOrder = {
  readonly port: number
  /** Taken in turn, so that no host asks the same again before all others have asked. */
  readonly kinds: readonly PollKind[]
  readonly transport: Transport
  readonly firstHost: number
  readonly requests: number
  /** At once. */
  readonly connections: number
  /** When they are to be sent, whatever becomes of those before; else one after another, as quickly as it goes. */
  readonly perSecond?: number
}

export type PollResult = {
  readonly elapsedMs: number
  /** Processor time of the generator meanwhile, without the making of signatures. */
  readonly cpuMs: number
  readonly latenciesMs: readonly number[]
  /** What came instead of the answer that was expected, the first few of it. */
  readonly failures: readonly string[]
}

/** Its name in the path; one for callers known by their address, one for those who sign. */
export function boxNameOf(host: number, kind: 'box' | 'signed box'): string {
  return `${kind === 'box' ? 'plain' : 'signed'}-${host}`
}
