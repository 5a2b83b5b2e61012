import { calculateJwkThumbprint } from 'jose'
import { ProblemError } from '../acme/problem.ts'
import type { AccountKey } from '../plugin-api.ts'

/** RFC 7638, for key authorizations (RFC 8555 §8.1): the key itself may be hidden. */
export async function accountThumbprint(key: AccountKey): Promise<string> {
  return key.thumbprint ?? (await calculateJwkThumbprint(publicJwkOf(key)))
}

/** @throws ProblemError where whoever holds the key keeps it back: the account is then what it is */
export function publicJwkOf({ publicJwk, accountUrl = 'its account' }: AccountKey): Readonly<Record<string, string>> {
  if (publicJwk !== undefined) return publicJwk
  throw new ProblemError(
    'userActionRequired',
    `the account key's holder hides the key (keyid), so that ${accountUrl} can only be used as it is: accounts are made, found and changed where the key is shown, at the holder's admin socket`,
  )
}
