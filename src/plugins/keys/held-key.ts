import { ProblemError } from '../../acme/problem.ts'
import type { AccountKey } from '../../plugin-api.ts'
import type { HolderClient } from '../../remote-key/holder-client.ts'

const algorithms: readonly AccountKey['alg'][] = ['RS256', 'ES256', 'ES384']

/** The account key at the other end of lacme-accountd's protocol. */
export async function openKeyOfHolder(client: HolderClient, what: string, signal: AbortSignal): Promise<AccountKey> {
  const { publicJwk, accountUrl, thumbprint, alg: given } = await tell(what, client.greeting(signal))
  const alg = algorithms.find((known) => known === given)
  if (alg === undefined) throw new Error(`${what}: no ACME account can have a key for ${given}`)
  return {
    alg,
    thumbprint,
    ...(publicJwk === undefined ? {} : { publicJwk }),
    ...(accountUrl === undefined ? {} : { accountUrl }),
    sign: (octets, context) => tell(what, client.sign(octets, context.signal)),
  }
}

/** Whatever is wrong there, the one who asked for a certificate did nothing wrong, and may ask again. */
export async function tell<T>(what: string, act: Promise<T>): Promise<T> {
  try {
    return await act
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'AbortError') throw cause
    const reason = cause instanceof Error ? cause.message : 'unknown reason'
    throw new ProblemError('serverInternal', `the account key at ${what}: ${reason}`, {
      retry: { when: 'backoff' },
      cause,
    })
  }
}
