// Faults of what a CA says about directories, accounts, orders and names.
import { isJsonObject, type JsonObject } from '../../src/acme/json-object.ts'
import type { EndpointKind, Rule } from './rule.ts'

const orderAnswers: readonly EndpointKind[] = ['newOrder', 'order', 'finalize']

function refuse(endpoint: EndpointKind, status: number, problemType: string, detail: string): Rule[] {
  return [{ endpoint, action: { do: 'status', status, problemType, detail } }]
}

function rewriteOrders(
  body: (order: JsonObject, random: () => number) => JsonObject,
  endpoint: Rule['endpoint'] = orderAnswers,
): Rule[] {
  return [{ endpoint, action: { do: 'replaceJson', body: (order, { random }) => body(order, random) } }]
}

/** @param reads how many answers about an order say so before the CA's own word is passed on */
export function stuckProcessing(reads = Number.POSITIVE_INFINITY): Rule[] {
  const shown = new Map<unknown, number>()
  return rewriteOrders((order) => {
    const { certificate, ...rest } = order
    const count = shown.get(order.finalize) ?? 0
    if ((order.status !== 'valid' && order.status !== 'processing') || count >= reads) return order
    shown.set(order.finalize, count + 1)
    return { ...rest, status: 'processing' }
  })
}

/** As if the CA had not been able to prove any name. */
export function failedValidation(problemType: string): Rule[] {
  const error = { type: `urn:ietf:params:acme:error:${problemType}`, detail: 'the fault proxy says so', status: 400 }
  const invalid = (object: JsonObject) => ({ ...object, status: 'invalid', error })
  return [
    ...rewriteOrders((order) => (order.status === 'pending' ? order : invalid(order))),
    {
      endpoint: 'authorization',
      action: {
        do: 'replaceJson',
        body: (authorization) =>
          authorization.status === 'pending'
            ? authorization
            : { ...authorization, status: 'invalid', challenges: listOf(authorization.challenges).map(invalid) },
      },
    },
  ]
}

export const otherIdentifiers = (): Rule[] =>
  rewriteOrders((order) => ({ ...order, identifiers: [{ type: 'dns', value: 'other.example' }] }))

/** RFC 8555 §7.1.3: these never change once the order is made. */
export const changedAuthorizations = (): Rule[] =>
  rewriteOrders(
    (order) => ({
      ...order,
      authorizations: listOf(order.authorizations, isText).map((url) => `${url}-other`),
      finalize: `${order.finalize}-other`,
    }),
    ['order', 'finalize'],
  )

export const orderExpiry = (inMs: number): Rule[] =>
  rewriteOrders((order) => ({ ...order, expires: new Date(Date.now() + inMs).toISOString() }))

/** No order is promised for any list (RFC 8555 §7.1.3, §7.1.4). */
export const shuffledLists = (): Rule[] => [
  {
    endpoint: [...orderAnswers, 'authorization'],
    action: {
      do: 'replaceJson',
      body: (object, { random }) =>
        Object.fromEntries(
          Object.entries(object).map(([name, value]) => [name, Array.isArray(value) ? shuffle(value, random) : value]),
        ),
    },
  },
]

/** Challenge types that no client knows, and one that looks like a draft's: no token, other members. */
export const unknownChallenges = (): Rule[] => [
  {
    endpoint: 'authorization',
    action: {
      do: 'replaceJson',
      body: (authorization, { origin }) => ({
        ...authorization,
        challenges: [
          { type: 'unknown-99', url: `${origin}/unknown-99`, status: authorization.status },
          {
            ...{ type: 'dns-persist-01', url: `${origin}/dns-persist-01`, status: authorization.status },
            issuerDomainNames: ['ca.example'],
          },
          ...listOf(authorization.challenges),
        ],
      }),
    },
  },
]

export const accountDeactivated = (): Rule[] =>
  refuse('newOrder', 401, 'unauthorized', 'the account is deactivated').concat(
    refuse('newAccount', 401, 'unauthorized', 'the account is deactivated'),
  )

export const accountUnknown = (): Rule[] => refuse('newOrder', 400, 'accountDoesNotExist', 'there is no such account')

/** RFC 8555 §7.3.3. */
export const termsChanged = (): Rule[] => [
  {
    endpoint: 'newOrder',
    action: {
      ...{ do: 'status', status: 403, problemType: 'userActionRequired', detail: 'the terms of service have changed' },
      headers: { Link: '<https://ca.example/terms-2>;rel="terms-of-service"' },
    },
  },
]

/** One name of the order is refused, with a subproblem that names it (RFC 8555 §6.7.1). */
export const rejectedName = (name: string): Rule[] => [
  {
    endpoint: 'newOrder',
    when: ({ payload }) => listOf(payload?.identifiers).some(({ value }) => value === name),
    action: {
      ...{ do: 'status', status: 403, problemType: 'rejectedIdentifier', detail: 'some names are refused' },
      subproblems: [
        {
          ...{ type: 'urn:ietf:params:acme:error:rejectedIdentifier', detail: `policy forbids ${name}` },
          identifier: { type: 'dns', value: name },
        },
      ],
    },
  },
]

export const caaForbids = (): Rule[] => refuse('finalize', 403, 'caa', 'CAA record prevents issuance')

export const orderNotReady = (): Rule[] => refuse('finalize', 403, 'orderNotReady', 'the order is not ready')

export const alreadyRevoked = (): Rule[] => refuse('revokeCert', 400, 'alreadyRevoked', 'it is revoked already')

/** `meta.profiles` of the profiles draft; the CA behind may know none of them. */
export const advertisedProfiles = (names: readonly string[]): Rule[] => [
  {
    action: {
      do: 'rewriteDirectory',
      directory: (directory) => ({
        ...directory,
        meta: {
          ...(isJsonObject(directory.meta) ? directory.meta : {}),
          profiles: Object.fromEntries(names.map((name) => [name, `https://ca.example/profiles#${name}`])),
        },
      }),
    },
  },
]

export const profileWithdrawn = (): Rule[] =>
  refuse('newOrder', 400, 'invalidProfile', 'the profile is not offered any more').map((rule) => ({
    ...rule,
    when: ({ payload }) => payload?.profile !== undefined,
  }))

export const directoryWithout = (member: string): Rule[] => [
  {
    action: {
      do: 'rewriteDirectory',
      directory: (directory) => Object.fromEntries(Object.entries(directory).filter(([name]) => name !== member)),
    },
  },
]

const isText = (value: unknown) => typeof value === 'string'

function listOf(value: unknown): JsonObject[]
function listOf<T>(value: unknown, isOne: (value: unknown) => value is T): T[]
function listOf(value: unknown, isOne: (value: unknown) => boolean = isJsonObject): unknown[] {
  return Array.isArray(value) ? value.filter(isOne) : []
}

function shuffle(list: readonly unknown[], random: () => number): unknown[] {
  return list
    .map((value) => ({ value, at: random() }))
    .toSorted((left, right) => left.at - right.at)
    .map(({ value }) => value)
}
