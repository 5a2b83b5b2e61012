// All ready scenarios, and their names for the command line.
import { nearestWord } from '../../src/config/finding.ts'
import * as ari from './ari-scenarios.ts'
import * as certificate from './certificate-scenarios.ts'
import * as connection from './connection-scenarios.ts'
import * as order from './order-scenarios.ts'
import { type EndpointKind, endpointKinds, type Rule } from './rule.ts'

export * from './ari-scenarios.ts'
export * from './certificate-scenarios.ts'
export * from './connection-scenarios.ts'
export * from './order-scenarios.ts'

export type Scenario = {
  readonly name: string
  readonly meaning: string
  /** What its value is, and the one that is taken when none is given; absent when it has none. */
  readonly value?: { readonly meaning: string; readonly preset: string }
  make(value: string): Rule[]
}

/** The command line names something that is not there. */
export class ScenarioError extends Error {
  override readonly name = 'ScenarioError'
}

type Value<T> = { readonly meaning: string; readonly parse: (text: string) => T }

const share: Value<number> = { meaning: 'share of the requests, 0 to 1', parse: (text) => parseNumber(text, 0, 1) }
const milliseconds: Value<number> = { meaning: 'ms', parse: (text) => parseNumber(text, 0) }
const count: Value<number> = { meaning: 'number', parse: (text) => parseNumber(text, 1) }
const status: Value<number> = { meaning: 'HTTP status', parse: (text) => parseNumber(text, 400, 599) }
const retryAfter: Value<string> = { meaning: 'Retry-After: seconds, HTTP-date or anything', parse: String }
const word: Value<string> = { meaning: 'word', parse: String }
const words: Value<readonly string[]> = { meaning: 'names with + between', parse: (text) => text.split('+') }
const kinds: Value<readonly EndpointKind[]> = {
  meaning: 'endpoints with + between',
  parse: (text) => text.split('+').map(parseEndpoint),
}

function plain(name: string, meaning: string, make: () => Rule[]): Scenario {
  return { name, meaning, make }
}

function valued<T>(
  name: string,
  value: Value<T>,
  preset: string,
  meaning: string,
  make: (value: T) => Rule[],
): Scenario {
  return { name, meaning, value: { meaning: value.meaning, preset }, make: (text) => make(value.parse(text)) }
}

const hourMs = 3_600_000

export const scenarios: readonly Scenario[] = [
  valued('server-errors', share, '0.3', '500, 502 or 504 at random, anywhere', connection.serverErrors),
  valued('late-server-errors', share, '0.3', '504 after the CA has done it', connection.lateServerErrors),
  valued('service-unavailable', retryAfter, '7', '503 to everything', connection.serviceUnavailable),
  valued(
    'rate-limited-new-order',
    retryAfter,
    '60',
    '429 rateLimited to every newOrder',
    connection.rateLimitedNewOrder,
  ),
  valued('cut-everywhere', share, '0.3', 'the connection ends before or after the CA', connection.cutEverywhere),
  plain('unreachable', 'every connection ends at once', connection.unreachable),
  valued(
    'lost-replies',
    kinds,
    'newAccount+newOrder+challenge+finalize+certificate',
    'the first request at each is done and not answered',
    connection.lostReplies,
  ),
  valued('slow', milliseconds, '5000', 'every request waits that long', connection.slow),
  valued('silent', share, '0.3', 'accepted and never answered', connection.silent),
  valued('dripping', count, '1', 'bytes of an answer a second', connection.dripping),
  valued('endless', share, '0.3', '200 and a body without end', connection.endless),
  valued('truncated', share, '0.3', 'half of the answer, then the connection ends', connection.truncated),
  valued('html-answers', share, '0.3', '200 with a page', connection.htmlAnswers),
  valued('empty-answers', share, '0.3', '200 with nothing', connection.emptyAnswers),
  valued('stale-nonces', share, '0.5', 'Replay-Nonce is one that was used before', connection.staleNonces),
  valued('many-links', count, '100000', 'that many Link headers in every answer', connection.manyLinks),
  valued('deep-json', count, '100000', 'JSON nested that deep', connection.deepJson),

  valued('stuck-processing', count, 'Infinity', 'orders stay processing for that many answers', order.stuckProcessing),
  valued('failed-validation', word, 'connection', 'orders end invalid, for that reason', order.failedValidation),
  plain('other-identifiers', 'orders are about other names', order.otherIdentifiers),
  plain('changed-authorizations', 'an order has other URLs when it is read again', order.changedAuthorizations),
  valued('order-expiry', milliseconds, '30000', 'orders expire that long after each answer', order.orderExpiry),
  plain('shuffled-lists', 'lists come in another order every time', order.shuffledLists),
  plain('unknown-challenges', 'challenge types that nobody knows, first', order.unknownChallenges),
  plain('account-deactivated', '401 unauthorized: the account is deactivated', order.accountDeactivated),
  plain('account-unknown', '400 accountDoesNotExist to newOrder', order.accountUnknown),
  plain('terms-changed', '403 userActionRequired to newOrder', order.termsChanged),
  valued('rejected-name', word, 'bad.example.test', 'orders with that name are refused, naming it', order.rejectedName),
  plain('caa-forbids', '403 caa at finalize', order.caaForbids),
  plain('order-not-ready', '403 orderNotReady at finalize', order.orderNotReady),
  plain('already-revoked', '400 alreadyRevoked', order.alreadyRevoked),
  valued('advertised-profiles', words, 'classic+shortlived', 'profiles in the directory', order.advertisedProfiles),
  plain('profile-withdrawn', 'newOrder with a profile is refused', order.profileWithdrawn),
  valued('directory-without', word, 'renewalInfo', 'a member is missing in the directory', order.directoryWithout),

  valued('ari-window', milliseconds, '60000', 'renew between then and an hour later', (startInMs) =>
    ari.ariWindow({ startInMs, endInMs: startInMs + hourMs }),
  ),
  plain('ari-past', 'renew everything now: mass revocation', ari.ariPast),
  plain('ari-end-before-start', 'a window that ends before it begins', ari.ariEndBeforeStart),
  plain('ari-garbage', 'nonsense, another one every time', ari.ariGarbage),
  valued('ari-error', status, '500', 'renewal information is an error', ari.ariError),
  plain('already-replaced', '409 alreadyReplaced to newOrder with replaces', () => ari.alreadyReplaced()),

  plain('wrong-key', 'the certificate is for another key', certificate.wrongKey),
  valued('wrong-names', words, 'other.example', 'the certificate has these names', certificate.wrongNames),
  plain('expired-certificate', 'the certificate expired yesterday', certificate.expiredCertificate),
  valued('future-certificate', milliseconds, '7200000', 'valid only from then on', certificate.futureCertificate),
  valued('short-certificate', milliseconds, '60000', 'valid from now, that long', certificate.shortCertificate),
  plain('private-key-in-chain', 'a PRIVATE KEY after the certificates', certificate.privateKeyInChain),
  plain('without-intermediate', 'only the leaf', certificate.withoutIntermediate),
  plain('broken-chain', 'what follows the leaf did not issue it', certificate.brokenChain),
]

/**
 * Reads `NAME[=VALUE][,endpoint=KIND][,times=N][,from=N][,to=N]`.
 * @throws ScenarioError that names the nearest one
 */
export function parseScenario(text: string): Rule[] {
  // From the end: an HTTP-date has a comma, too.
  const limits = /(?:,(?:endpoint|times|from|to)=[^,]*)*$/.exec(text)?.[0] ?? ''
  const [, name = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(text.slice(0, text.length - limits.length)) ?? []
  const scenario = scenarios.find((candidate) => candidate.name === name)
  if (scenario === undefined) {
    const near = nearestWord(
      name,
      scenarios.map((candidate) => candidate.name),
    )
    throw new ScenarioError(
      `there is no scenario "${name}"${near === undefined ? '' : `, did you mean "${near}"?`} (--list shows all)`,
    )
  }
  if (value !== undefined && scenario.value === undefined) throw new ScenarioError(`${name} takes no value`)
  try {
    return narrow(scenario.make(value ?? scenario.value?.preset ?? ''), limits)
  } catch (error) {
    if (!(error instanceof ScenarioError)) throw error
    throw new ScenarioError(`--scenario ${text}: ${error.message}`)
  }
}

function narrow(rules: readonly Rule[], limits: string): Rule[] {
  const given = new Map([...limits.matchAll(/,(\w+)=([^,]*)/g)].map(([, key = '', value = '']) => [key, value]))
  const number = (key: string) => {
    const value = given.get(key)
    return value === undefined ? {} : { [key]: parseNumber(value, 1) }
  }
  const endpoint = given.get('endpoint')
  const range = { ...number('from'), ...number('to') }
  return connection.narrowRules(rules, {
    ...(endpoint === undefined ? {} : { endpoint: endpoint.split('+').map(parseEndpoint) }),
    ...number('times'),
    ...(Object.keys(range).length === 0 ? {} : { nth: range }),
  })
}

function parseNumber(text: string, min: number, max = Number.POSITIVE_INFINITY): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (!(value >= min && value <= max))
    throw new ScenarioError(
      `"${text}" is no number ${max < Number.POSITIVE_INFINITY ? `from ${min} to ${max}` : `of at least ${min}`}`,
    )
  return value
}

function parseEndpoint(text: string): EndpointKind {
  const kind = endpointKinds.find((known) => known === text)
  if (kind !== undefined) return kind
  const near = nearestWord(text, endpointKinds)
  throw new ScenarioError(
    `there is no endpoint "${text}"${near === undefined ? '' : `, did you mean "${near}"?`} (there are ${endpointKinds.join(', ')})`,
  )
}
