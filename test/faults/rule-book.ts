// Decides what happens to a request. The same seed, rules and requests lead to the same decisions.
import { hash } from 'node:crypto'
import type { Action, Change, Ending, Rule, SeenRequest } from './rule.ts'

export type Decision = { readonly changes: readonly Change[]; readonly ending: Ending | undefined }

export type RuleBook = { decide(request: SeenRequest): Decision }

/** Between 0 and 1, from the words alone: no order of events can change it. */
export function drawNumber(...words: readonly (string | number)[]): number {
  return Number.parseInt(hash('sha256', words.join('/')).slice(0, 8), 16) / 2 ** 32
}

/** The n-th number is always the same for the same words. */
export function createRandom(...words: readonly (string | number)[]): () => number {
  let count = 0
  return () => drawNumber(...words, count++)
}

/** Every rule counts on its own, also requests that another rule has already ended. */
export function createRuleBook(rules: readonly Rule[], seed: number): RuleBook {
  const entries = rules.map((rule, index) => ({ rule, index, matches: 0, applications: 0 }))
  return {
    decide(request) {
      const changes: Change[] = []
      let ending: Ending | undefined
      for (const entry of entries) {
        const { rule } = entry
        if (!isAbout(rule, request)) continue
        entry.matches += 1
        if (!isInRange(rule.nth, entry.matches)) continue
        // By endpoint, so that requests to several endpoints at once do not change each other's luck.
        const luck = drawNumber(seed, entry.index, request.endpoint, request.endpointCount)
        if (luck >= (rule.probability ?? 1)) continue
        if (entry.applications >= (rule.times ?? Number.POSITIVE_INFINITY)) continue
        const action = typeof rule.action === 'function' ? rule.action(request) : rule.action
        if (isChange(action)) changes.push(action)
        else if (ending === undefined) ending = action
        else continue
        entry.applications += 1
      }
      return { changes, ending }
    },
  }
}

function isAbout(rule: Rule, request: SeenRequest): boolean {
  const { endpoint = defaultEndpoint(rule.action) } = rule
  const matches = endpoint === undefined || [endpoint].flat().includes(request.endpoint)
  return matches && rule.when?.(request) !== false
}

function defaultEndpoint(action: Rule['action']): Rule['endpoint'] {
  if (typeof action === 'function') return undefined
  if (action.do === 'ari') return 'renewalInfo'
  return action.do === 'rewriteDirectory' ? 'directory' : undefined
}

function isInRange(nth: Rule['nth'], count: number): boolean {
  if (nth === undefined) return true
  if (typeof nth === 'number') return count === nth
  return count >= (nth.from ?? 1) && count <= (nth.to ?? Number.POSITIVE_INFINITY)
}

const changeNames: ReadonlySet<string> = new Set([
  ...(['delay', 'replaceJson', 'replaceBody', 'rewriteDirectory', 'staleNonce'] satisfies Change['do'][]),
  ...(['headers', 'onRequest'] satisfies Change['do'][]),
])

function isChange(action: Action): action is Change {
  return changeNames.has(action.do)
}
