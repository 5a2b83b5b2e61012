/**
 * The contracts between acmems and its plugins, in the words of RFC 2119; all that a plugin's author needs.
 * A plugin is a value with functions: nothing to extend, to register or, at run time, to import (see `examples/`).
 */
import type { AccountKey } from './account-key.ts'
import type { AnswerRecords } from './acme/answer-record.ts'
import type { Challenge, ChallengeType } from './acme/challenge.ts'
import type { CheckFinding } from './acme/check-finding.ts'
import type { Identifier } from './acme/identifier.ts'
import type { RateLedger } from './acme/rate-limit.ts'
import type { RenewalInfoReply } from './acme/renewal-info.ts'
import type { ResponderZone } from './acme/responder-zone.ts'
import type { BoxSource } from './plugin-box.ts'
import type { HttpClient, PluginContext } from './plugin-context.ts'
import type { IssuanceEvent } from './plugin-event.ts'
import type { Options, OptionValues } from './plugin-option.ts'
import type { SignedBy, SigningKey } from './signature/signing-key.ts'
import type { Csr } from './x509/csr.ts'

export type { AnswerRecord, AnswerRecords } from './acme/answer-record.ts'
export type { Challenge, ChallengeType } from './acme/challenge.ts'
export type { CheckFinding } from './acme/check-finding.ts'
export type { Identifier } from './acme/identifier.ts'
/** Thrown by a plugin as any Error with this `name`, a registered `code`, a message for the caller, and a `cause` for the log. */
export type { ProblemCode, ProblemError, Retry } from './acme/problem.ts'
export type { RateBucket, RateLedger } from './acme/rate-limit.ts'
export type { RenewalInfo } from './acme/renewal-info.ts'
export type { ResponderZone } from './acme/responder-zone.ts'
export type { BoxOrder, BoxSource, FetchedBox } from './plugin-box.ts'
export type { Clock, HttpClient, HttpReply, HttpRequest, LogFields, Logger, PluginContext } from './plugin-context.ts'
export type { IssuanceEvent } from './plugin-event.ts'
export type { Option, Options, OptionValues } from './plugin-option.ts'
export type { SignedBy, SigningKey } from './signature/signing-key.ts'
export type { Csr } from './x509/csr.ts'

// 1. who is asking --------------------------------------------------------------------------------

/** A request as a door received it: nothing in it is trusted yet but what says so. */
export type Presented = {
  /** The peer's address; behind a `trusted-proxy`, the address that the proxy vouches for. */
  readonly remoteAddress: string
  readonly method: string
  readonly path: string
  /** Lower-case names, values as sent: a name can come more than once. */
  readonly headers: ReadonlyMap<string, readonly string[]>
  readonly bodyBytes: Uint8Array
  /** Whose signature over the request the door found to hold (RFC 9421). */
  readonly signedBy?: SignedBy
  /** Of the certificate whose key the peer proved in the TLS handshake: base64. */
  readonly clientCertificateSpkiSha256?: string
}

/**
 * One condition of an `[auth]` block; its option's name is the key in the block. All conditions of a block must hold.
 * MUST be pure, quick, and compare secrets in constant time. MUST NOT throw: what it cannot read does not hold.
 */
export interface Credential {
  holds(presented: Presented): boolean
  /** Says the same without the body, where that is already clear: a stranger's body is then never read. */
  couldHold?(head: Omit<Presented, 'bodyBytes'>): boolean
  /** It wants a request that one of these keys signed, or one that was enrolled for its block. */
  readonly signingKeys?: readonly SigningKey[]
  /** A way in that is kept for old hosts: what to do instead. Its uses are counted and logged. */
  readonly legacyAdvice?: string
}

// 2. proving control ------------------------------------------------------------------------------

export type ChallengeTask = {
  readonly identifier: Identifier
  readonly wildcard: boolean
  readonly challenge: Challenge
  readonly keyAuthorization: string
  /** When the answer is of no use any more. */
  readonly expiresAtMs: number
}

export interface ChallengeSolver {
  readonly type: ChallengeType
  /** Addresses where the responder answers for this solver (`host:port`, `[v6%zone]:port`). */
  readonly responderListeners?: readonly string[]
  /** Other responders (`http://host:port`) that are asked for tokens which nobody here left. */
  readonly responderRelays?: readonly string[]
  readonly responderZone?: ResponderZone
  /** Makes the answer visible. SHOULD return quickly; MUST be idempotent, a restart presents again. */
  present(task: ChallengeTask, context: PluginContext): Promise<void>
  /** Waits until a validator would see it. Omit when present() is enough. MUST end when the signal aborts. */
  waitUntilVisible?(task: ChallengeTask, context: PluginContext): Promise<void>
  /**
   * Looks at the answer once, as a validator would; asked again a few times while it is wrong. SHOULD be quick where it
   * cannot tell. MUST end when the signal aborts.
   */
  check?(task: ChallengeTask, context: PluginContext): Promise<CheckFinding>
  /** Undoes present(). MUST NOT assume that present() succeeded, MUST NOT remove what others put there. */
  cleanUp(task: ChallengeTask, context: PluginContext): Promise<void>
  /** The attempt is over, or rests until all is presented again: gives back what only a validator needs. MUST NOT throw. */
  pause?(): Promise<void>
}

// 3. editing a zone -------------------------------------------------------------------------------

/** `fqdn` without a trailing dot. */
export type TxtRecord = { readonly fqdn: string; readonly value: string }

/**
 * Used by the dns-01 solver: a provider becomes a `[verification]` type of its own name. The solver follows CNAMEs
 * before, waits for the zone's servers after, and changes one name at a time; its keys (`resolver`, `follow-cname`,
 * `nameserver`, `propagation-timeout`) stand beside the provider's own.
 * The task is what the value comes from, for those who hand it on; where a CNAME is followed, the record is elsewhere
 * than the identifier says.
 */
export interface DnsProvider {
  /** Whom the solver asks for CNAME, SOA and NS where its section names no `resolver`; absent: the system's. */
  readonly resolvers?: readonly { readonly host: string; readonly port: number }[]
  /** Adds one value and keeps the others: a name and its wildcard share `_acme-challenge`. MUST be idempotent. */
  addTxt(record: TxtRecord, context: PluginContext, task?: ChallengeTask): Promise<void>
  /** Removes exactly this value; succeeds when it is not there. */
  removeTxt(record: TxtRecord, context: PluginContext, task?: ChallengeTask): Promise<void>
  /** Waits until the provider says that the value is out, where it can say so; the zone's servers are asked after it. */
  waitUntilVisible?(record: TxtRecord, context: PluginContext, task?: ChallengeTask): Promise<void>
}

// 4. account keys ---------------------------------------------------------------------------------

/** See `account-key.ts`: the key itself may live anywhere. */
export type { AccountKey } from './account-key.ts'

// 5. getting certificates -------------------------------------------------------------------------

declare const granted: unique symbol

/** Permission to issue exactly this request, and how; where `unrecorded`, no trace of it may stay. Only policy/ makes one. */
export type Grant = {
  readonly [granted]: true
  readonly block: string
  readonly caller: Caller
  readonly csr: Csr
  readonly issuer: string
  readonly verification: string | undefined
  readonly storage: string
  readonly profile: string | undefined
  readonly unrecorded?: true
}

/** Who asked, and which blocks' conditions held. */
export type Caller = { readonly remoteAddress: string; readonly blocks: readonly string[] }

export type IssuedChain = { readonly chainPem: string; readonly alternatesPem: readonly string[] }

/** What an issuer wants remembered between two steps: JSON, saved before the next step is asked for. */
export type Progress = { readonly [key: string]: unknown }

export type Advance =
  | {
      readonly outcome: 'again'
      readonly progress: Progress
      /** What was done, for the person who looks at the order: one line, with the CA's words. */
      readonly note?: string
      /** The CA's name for the order, as soon as there is one. */
      readonly orderUrl?: string
      readonly notBeforeMs?: number
      /** Nothing in it is needed that could not be asked for again: a power failure may take it, a crash does not. */
      readonly recoverable?: boolean
    }
  | { readonly outcome: 'done'; readonly chain: IssuedChain }

export type IssuerContext = PluginContext & {
  readonly solvers: readonly ChallengeSolver[]
  /** The certificate that the new one follows, when it came from this issuer (RFC 9773 §5). */
  readonly predecessorDer?: Uint8Array
  /** Nobody waits, and the certificate in use is good for a while: such a need leaves room for others. */
  readonly canWait?: boolean
  /** Does this order belong to another need that is being worked on? */
  isOrderInUse?(orderUrl: string): Promise<boolean>
}

/** How a certificate is taken back (RFC 8555 §7.6). */
export type Revocation = {
  readonly certificateDer: Uint8Array
  /** RFC 5280 §5.3.1 */
  readonly reason?: number
  /** The certificate's own key signs; without it the account does. */
  readonly key?: AccountKey
}

export interface Issuer {
  /** Two issuers with the same key are interchangeable; a kept certificate is answered only for its issuer's key. */
  readonly key: string
  /**
   * Does exactly one step and returns. issuance/ owns the loop and the saving.
   * @param progress undefined at first, then what the last step returned
   * @param resumed the progress comes from a crashed or failed attempt: re-read before repeating anything
   * @throws ProblemError whose `retry` says what is of use; MUST have cleaned up when that is `never` or `newOrder`
   */
  advance(grant: Grant, progress: Progress | undefined, resumed: boolean, context: IssuerContext): Promise<Advance>
  /** Nobody will go on with this progress: undoes what was presented, tells the CA. SHOULD NOT throw. */
  abandon?(progress: Progress, context: IssuerContext): Promise<void>
  /** When does the CA want the certificate replaced (RFC 9773)? undefined: it does not say such things. */
  renewalInfo?(certificateDer: Uint8Array, context: PluginContext): Promise<RenewalInfoReply | undefined>
  /** A certificate that was revoked before counts as revoked. @throws ProblemError */
  revoke?(revocation: Revocation, context: PluginContext): Promise<void>
  /**
   * The issuer's idea of the time, as milliseconds since 1970: asked before orders are made because certificates
   * seem to end, so that a clock of ours that is wrong causes none. undefined: not known.
   */
  timeMs?(context: PluginContext): Promise<number | undefined>
  /** Where it has sealed boxes; its plugin says so, too (`hasBoxes`). */
  readonly boxes?: BoxSource
  /** Called once at start, in the background: reach the CA, check the account. Its failure is logged, not fatal. */
  prepare?(context: PluginContext): Promise<void>
}

// 6. keeping certificates -------------------------------------------------------------------------

/** A request to look up: the octets as posted (acmems' file layout is named by them), for one issuer and profile. */
export type KeptRequest = {
  readonly postedBytes: Uint8Array
  readonly csr: Csr
  readonly issuerKey: string
  readonly profile: string | undefined
  /** The answer decides whether an order is made: what another server kept a moment ago counts. */
  readonly atOnce?: true
}

export interface CertificateStorage {
  /** A kept certificate is renewed when less than this is left of it. Omit to leave it to the lifetime. */
  readonly renewWithinMs?: number
  /** It forgets everything at once: nothing of it can be renewed ahead of need. */
  readonly keepsNothing?: true
  /** The PEM chain kept for exactly this request, fresh or not. MUST NOT throw for damaged content. */
  find(request: KeptRequest, context: PluginContext): Promise<string | undefined>
  /** Durable when resolved. */
  keep(request: KeptRequest, chainPem: string, context: PluginContext): Promise<void>
  /** The certificate was revoked: find() MUST NOT return it again. Succeeds when there is none. */
  forget(request: KeptRequest, context: PluginContext): Promise<void>
}

// 7. telling people -------------------------------------------------------------------------------

export interface Notifier {
  /** Comes after the answer. May throw: that is logged, and never fails an issuance. */
  notify(event: IssuanceEvent, context: PluginContext): Promise<void>
}

// what a plugin is made with ----------------------------------------------------------------------

export type CertificateKey = Pick<KeptRequest, 'csr' | 'issuerKey' | 'profile' | 'atOnce'>

/** Chains in the state, found by the request's DER, the issuer and the profile. */
export interface KeptCertificates {
  findChain(key: CertificateKey): Promise<string | undefined>
  /** Durable when resolved. */
  saveChain(key: CertificateKey, chainPem: string): Promise<void>
  removeChain(key: CertificateKey): Promise<void>
}

/** Handed to create(): the context that every call gets, and what only the making needs. `log` names the section. */
export type PluginSetup = PluginContext & {
  /** The name of the plugin's section. */
  readonly section: string
  /** A folder of ours that survives restarts. */
  readonly stateFolder: string
  readonly userAgent: string
  /** The process's own, for programs and agents that are found by it. */
  readonly environment?: Readonly<Record<string, string | undefined>>
  readonly answers: AnswerRecords
  readonly certificates: KeptCertificates
  readonly rates: RateLedger
  /** @param location `NAME:location`, as in `key = file:/path` */
  openAccountKey(location: string): Promise<AccountKey>
  /**
   * @param caFile PEM file of roots to trust beside the usual ones
   * @param pins keys that the peer may have, `sha256//BASE64`: checked instead of its certificate's chain
   */
  httpClient(caFile: string | undefined, pins?: readonly string[]): Promise<HttpClient>
}

// the plugin itself -------------------------------------------------------------------------------

export type PluginKinds = {
  credential: Credential
  solver: ChallengeSolver
  dns: DnsProvider
  accountKey: AccountKey
  issuer: Issuer
  storage: CertificateStorage
  notifier: Notifier
}

export type PluginKind = keyof PluginKinds

/**
 * `name` is what the configuration says: `type = NAME`; for an account key `key = NAME:location`, whose rest is the
 * option `location`; for a credential it only labels messages, its options' names are the keys in the `[auth]` block.
 */
export type Plugin<K extends PluginKind = PluginKind, O extends Options = Options> = {
  readonly kind: K
  readonly name: string
  readonly meaning: string
  readonly options: O
  /** An issuer that certifies without a challenge: a block that uses it needs no verification. */
  readonly needsNoVerification?: boolean
  /** An issuer that hands out sealed boxes. */
  readonly hasBoxes?: boolean
  /** Rules between options, asked when the configuration is read. @throws Error with a sentence for the operator */
  check?(options: OptionValues<O>): void
  /** What it returns is disposed of at a reload and at the end, if it can be. */
  create(options: OptionValues<O>, setup: PluginSetup): Promise<PluginKinds[K] & Partial<AsyncDisposable>>
}

/** A plugin of any kind with its options forgotten: what lists of plugins hold. */
export type AnyPlugin = { [K in PluginKind]: ErasedPlugin<K> }[PluginKind]

export type ErasedPlugin<K extends PluginKind> = Omit<Plugin<K>, 'create' | 'check'> & {
  check?(options: never): void
  create(options: never, setup: PluginSetup): Promise<PluginKinds[K] & Partial<AsyncDisposable>>
}
