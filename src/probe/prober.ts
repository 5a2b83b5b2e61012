import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { errorCode } from '../error-code.ts'
import { readServed, type Served } from './handshake.ts'
import type { ProbePlace } from './probe-place.ts'
import { type Expected, type Finding, judge, worstOf } from './verdict.ts'

export type ProberParts = {
  readonly signal: AbortSignal
  /** Of a name, as this machine sees it. */
  readonly findAddresses?: (host: string) => Promise<readonly string[]>
}

/** Looks at every address of a place, and says what is worst. Never rejects. */
export type Prober = (place: ProbePlace, expected: Expected) => Promise<Finding>

const timeoutMs = 10_000
const maxAddresses = 8

export function createProber({ signal, findAddresses = systemAddresses }: ProberParts): Prober {
  async function lookAt(address: string, place: ProbePlace, expected: Expected, bound: AbortSignal): Promise<Finding> {
    const finding = judge(await readServed(address, place, { signal: bound }), expected)
    if (finding.verdict === 'newest') return { ...finding, address }
    // It may have the newest one as well, with a key of the other kind.
    for (const keyType of ['ec', 'rsa'] as const) {
      const served = await readServed(address, place, { signal: bound, keyType }).catch(
        (): Served | undefined => undefined,
      )
      const other = served === undefined ? undefined : judge(served, expected)
      if (other?.verdict === 'newest') return { ...other, address }
    }
    return { ...finding, address }
  }

  return async (place, expected) => {
    const bound = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    const unreachable = (reason: string): Finding => ({ verdict: 'unreachable', reason })
    let addresses: readonly string[]
    try {
      addresses = isIP(place.host) !== 0 ? [place.host] : await raced(findAddresses(place.host), bound)
    } catch (error) {
      return unreachable(`${place.host} has no address (${reasonOf(error)})`)
    }
    return worstOf(
      await Promise.all(
        addresses.slice(0, maxAddresses).map((address) =>
          lookAt(address, place, expected, bound).catch((error: unknown) => ({
            ...unreachable(reasonOf(error)),
            address,
          })),
        ),
      ),
    )
  }
}

async function systemAddresses(host: string): Promise<string[]> {
  return [...new Set((await lookup(host, { all: true })).map(({ address }) => address))]
}

/** A resolver that does not answer cannot be told to stop. */
function raced<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new Error('no answer in time'))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown reason'
  const code = errorCode(error)
  switch (code) {
    case 'ECONNREFUSED':
      return 'connection refused'
    case 'ECONNRESET':
      return 'the connection was reset'
    case 'ENOTFOUND':
      return 'the name does not exist'
    default:
      return code?.startsWith('ERR_SSL_') === true
        ? `no TLS (${code.slice('ERR_SSL_'.length).toLowerCase().replaceAll('_', ' ')})`
        : (code ?? error.message)
  }
}
