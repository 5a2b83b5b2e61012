/** A zone that the embedded DNS server answers for. Names in lower case without a dot at their end. */
export type ResponderZone = {
  /** undefined: every `_acme-challenge.NAME` is a zone of its own, which is there while the name is validated. */
  readonly name: string | undefined
  readonly nameServers: readonly string[]
  /** A mail address, `@` or dot. */
  readonly hostmaster: string | undefined
}
