/** One `issue` or `issuewild` property (RFC 8659 §4.2): who may issue, and under which conditions (RFC 8657). */
export type CaaRecord = { readonly critical: boolean; readonly tag: string; readonly value: string }

export type CaaQuestion = {
  /** Names that the CA answers to (`caaIdentities` in its directory). */
  readonly identities: readonly string[]
  readonly wildcard: boolean
  readonly accountUrl: string | undefined
  /** The challenge that is used, `http-01`. */
  readonly method: string | undefined
}

export type CaaVerdict = { readonly allowed: true } | { readonly allowed: false; readonly reason: string }

const knownTags = ['issue', 'issuewild', 'issuemail', 'issuevmc', 'iodef', 'contactemail', 'contactphone']

/** The value that allows one account with one method, and nobody else. */
export function caaIssueValue(identity: string, accountUrl: string | undefined, method: string | undefined): string {
  return [
    identity,
    ...(accountUrl === undefined ? [] : [`accounturi=${accountUrl}`]),
    ...(method === undefined ? [] : [`validationmethods=${method}`]),
  ].join('; ')
}

/** @param records the set that counts: the one of the name itself, or of the nearest name above that has any */
export function judgeCaa(records: readonly CaaRecord[], question: CaaQuestion): CaaVerdict {
  const unknown = records.find(({ critical, tag }) => critical && !knownTags.includes(tag.toLowerCase()))
  if (unknown !== undefined)
    return { allowed: false, reason: `the critical property ${unknown.tag} is known to nobody` }
  const of = (wanted: string) => records.filter(({ tag }) => tag.toLowerCase() === wanted)
  const forWildcards = of('issuewild')
  const relevant = question.wildcard && forWildcards.length > 0 ? forWildcards : of('issue')
  if (relevant.length === 0) return { allowed: true }
  const reasons = relevant.map(({ value }) => whyNot(value, question))
  if (reasons.includes(undefined)) return { allowed: true }
  return { allowed: false, reason: reasons.filter((reason) => reason !== undefined).join('; ') }
}

function whyNot(value: string, { identities, accountUrl, method }: CaaQuestion): string | undefined {
  const [issuer = '', ...parts] = value.split(';').map((part) => part.trim())
  if (issuer === '') return 'nobody may issue'
  if (!identities.some((identity) => identity.toLowerCase() === issuer.toLowerCase())) return `${issuer} may issue`
  const parameters = parts.filter(Boolean).map((part) => {
    const at = part.indexOf('=')
    return [part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).trim()] as const
  })
  for (const name of ['accounturi', 'validationmethods']) {
    const given = parameters.filter(([key]) => key === name)
    if (given.length > 1) return `${name} stands there twice, which CAs take for a refusal`
    const [, wanted] = given[0] ?? []
    if (wanted === undefined) continue
    if (name === 'accounturi' && wanted !== accountUrl) return `only the account ${wanted} may`
    if (name === 'validationmethods' && method !== undefined && !wanted.split(',').includes(method))
      return `only ${wanted} may be used`
  }
  return undefined
}
