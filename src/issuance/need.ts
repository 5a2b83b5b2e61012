import { createHash } from 'node:crypto'
import { type IssueRequest, type Means, namesOf } from './kept.ts'
import type { Need } from './records.ts'

const ids = new WeakMap<object, Map<string, string>>()

/** The same request to the same issuer under the same profile is the same need. */
export function needOf({ grant, postedBytes }: Omit<IssueRequest, 'means'>, { issuer }: Pick<Means, 'issuer'>): Need {
  return {
    id: needId(grant, issuer.key),
    issuerKey: issuer.key,
    names: namesOf(grant),
    block: grant.block,
    postedBytes,
    remoteAddress: grant.caller.remoteAddress,
    ...(grant.unrecorded === true ? { unrecorded: true } : {}),
  }
}

/** Hosts ask with the same request again and again: its hash is made once. */
function needId({ csr, profile, unrecorded }: IssueRequest['grant'], issuerKey: string): string {
  // What is recorded and what is not are never one: each is kept, or forgotten, by its own block's word.
  const variant = `${issuerKey}\0${profile ?? ''}\0${unrecorded === true ? 'unrecorded\0' : ''}`
  const known = ids.get(csr) ?? new Map<string, string>()
  const id = known.get(variant) ?? createHash('sha256').update(variant).update(csr.der).digest('hex')
  ids.set(csr, known.set(variant, id))
  return id
}
