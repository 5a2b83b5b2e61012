// nextStep against every sequence of answers, however long: what it knows of an order of two names is a finite graph,
// and the rules are read off the whole of it. (src/acme-client/order-flow.test.ts tries sequences by chance.)
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAuthorization } from '../../src/acme/authorization.ts'
import { parseDnsName } from '../../src/acme/identifier.ts'
import { parseOrder } from '../../src/acme/order.ts'
import { nextStep, noProgress, type OrderProgress, type Step } from '../../src/acme-client/order-flow.ts'

const base = 'https://ca.example'
const names = ['a.example', 'b.example']
const asked = names.map(parseDnsName)
const expiresAtMs = Date.UTC(2027, 0, 1)
const [inTime, tooLate] = [expiresAtMs - 1, expiresAtMs + 1]

const orders = (['pending', 'ready', 'processing', 'valid', 'invalid'] as const).map((status) =>
  parseOrder(`${base}/order/1`, {
    ...{ status, identifiers: asked, expires: new Date(expiresAtMs).toISOString(), finalize: `${base}/finalize/1` },
    ...{ authorizations: names.map((_, i) => `${base}/authz/${i}`), certificate: `${base}/cert/1` },
  }),
)

/** All that a CA can say of one name; which challenge was chosen is seen by its URL. */
const tellings = [
  ...(['pending', 'processing', 'valid'] as const).map((challenge) => ['pending', challenge] as const),
  ...(['valid', 'invalid', 'deactivated'] as const).map((status) => [status, 'valid'] as const),
]
const authorizations = names.map((name, i) =>
  tellings.map(([status, challengeStatus]) =>
    parseAuthorization(`${base}/authz/${i}`, {
      ...{ status, identifier: parseDnsName(name) },
      challenges: [
        { type: 'http-01', url: `${base}/chall/${i}`, token: 'abcdefghijklmnopqrstuv', status: challengeStatus },
      ],
    }),
  ),
)
const pairs = (authorizations[0] ?? []).flatMap((a) => (authorizations[1] ?? []).map((b) => [a, b]))

type Edge = { readonly step: Step['do']; readonly to: string }
type Graph = { readonly edges: ReadonlyMap<string, readonly Edge[]>; readonly start: string }

/** What may be known after the step, for every answer. */
function follow(progress: OrderProgress, step: Step): OrderProgress[] {
  const withOrder = () => orders.map((order): OrderProgress => ({ ...progress, order }))
  const urls = (list: readonly { readonly challenge: { readonly url: string } }[]) =>
    list.map(({ challenge }) => challenge.url)
  switch (step.do) {
    case 'createOrder':
    case 'poll':
    case 'finalize':
      return withOrder()
    case 'loadAuthorizations':
      return pairs.map((pair) => ({ ...progress, authorizations: pair }))
    case 'inspect':
      return pairs.map((pair) => ({ ...progress, authorizations: pair, inspected: true }))
    case 'choose':
      return [{ ...progress, chosen: step.chosen }]
    case 'present':
      return [{ ...progress, presented: [...progress.presented, ...urls(step.challenges)] }]
    case 'waitUntilVisible':
      return [{ ...progress, visible: true }]
    case 'answer':
      return [{ ...progress, answered: [...progress.answered, ...step.challenges.map(({ url }) => url)] }]
    case 'download':
      return [{ ...progress, chainPem: 'chain' }]
    case 'cleanUp':
      return [{ ...progress, cleaned: true }]
    case 'succeed':
    case 'fail':
      return []
    default:
      return step satisfies never
  }
}

/** What is known after a crash: the order is read again, all else only as far as it was chosen. */
function afterCrash({ order, chainPem, chosen }: OrderProgress): OrderProgress[] {
  if (order === undefined || chainPem !== undefined) return []
  return orders.map((read) => ({ ...noProgress, chosen, order: read }))
}

function explore(nowMs: number, crashes: boolean, from: readonly OrderProgress[] = [noProgress]): Graph {
  const edges = new Map<string, readonly Edge[]>()
  const open = [...from]
  for (let progress = open.pop(); progress !== undefined; progress = open.pop()) {
    const key = JSON.stringify(progress)
    if (edges.has(key)) continue
    const step = nextStep(progress, asked, ['http-01'], nowMs)
    const next = follow(progress, step)
    if (crashes && next.length > 0) next.push(...afterCrash(progress))
    edges.set(
      key,
      next.map((to) => ({ step: step.do, to: JSON.stringify(to) })),
    )
    open.push(...next)
  }
  return { edges, start: JSON.stringify(noProgress) }
}

/** States from which no sequence of answers leads to an end. */
function endless({ edges }: Graph): string[] {
  const ending = new Set([...edges].filter(([, list]) => list.length === 0).map(([key]) => key))
  for (let before = -1; before !== ending.size; ) {
    before = ending.size
    for (const [key, list] of edges) if (list.some(({ to }) => ending.has(to))) ending.add(key)
  }
  return [...edges.keys()].filter((key) => !ending.has(key))
}

/** Is there a way round without one of these steps? */
function hasCycleWithout({ edges }: Graph, steps: ReadonlySet<string>): boolean {
  const state = new Map<string, 'open' | 'done'>()
  const visit = (key: string): boolean => {
    if (state.get(key) === 'done') return false
    if (state.get(key) === 'open') return true
    state.set(key, 'open')
    const found = (edges.get(key) ?? []).some(({ step, to }) => !steps.has(step) && visit(to))
    state.set(key, 'done')
    return found
  }
  return [...edges.keys()].some(visit)
}

for (const crashes of [false, true]) {
  const how = crashes ? 'with a crash anywhere' : 'without a crash'
  const graph = explore(inTime, crashes)

  test(`${how}: an order is made once, at the beginning, and never again`, () => {
    const making = [...graph.edges].filter(([, list]) => list.some(({ step }) => step === 'createOrder'))
    assert.deepEqual(
      making.map(([key]) => key),
      [graph.start],
    )
    assert.ok(![...graph.edges.values()].flat().some(({ to }) => to === graph.start), 'nothing leads back to it')
    assert.ok(graph.edges.size > 1000, `only ${graph.edges.size} states`)
  })

  test(`${how}: from everywhere there is an end`, () => {
    assert.deepEqual(endless(graph), [])
  })
}

test('without a crash it goes round only by looking at the order again, which waits', () => {
  const graph = explore(inTime, false)
  assert.equal(hasCycleWithout(graph, new Set(['poll', 'finalize'])), false)
  assert.equal(hasCycleWithout(graph, new Set(['finalize'])), true, 'polling goes round, so this can fail')
})

test('an order that has expired is given up while it is pending', () => {
  const graph = explore(tooLate, false)
  const pending = [...graph.edges].filter(([key]) => (JSON.parse(key) as OrderProgress).order?.status === 'pending')
  const steps = new Set(pending.flatMap(([, list]) => list.map(({ step }) => step)))
  assert.deepEqual(
    [...steps].filter((step) => step !== 'cleanUp' && step !== 'fail'),
    [],
  )
})
