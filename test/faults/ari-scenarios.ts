// Renewal information (RFC 9773) of every sort, whether the CA behind has any or not.
import type { JsonObject } from '../../src/acme/json-object.ts'
import type { AnswerBody, Rule } from './rule.ts'

/** Milliseconds from the moment of the answer; less than 0 is past. */
export type AriWindow = { readonly startInMs: number; readonly endInMs: number }

type AriOptions = { readonly status?: number; readonly retryAfter?: string }

const sixHours = '21600'

/** Puts `renewalInfo` into the directory and answers there. */
export function ariAnswers(body: AnswerBody, options: AriOptions = {}): Rule[] {
  const directory = (original: JsonObject, { origin }: { readonly origin: string }) => ({
    ...original,
    renewalInfo: `${origin}/fault-proxy/renewal-info`,
  })
  return [{ action: { do: 'rewriteDirectory', directory } }, { action: { do: 'ari', body, ...options } }]
}

export function ariWindow({ startInMs, endInMs }: AriWindow, retryAfter = sixHours, explanationUrl?: string): Rule[] {
  const at = (inMs: number) => new Date(Date.now() + inMs).toISOString()
  return ariAnswers(
    () => ({
      suggestedWindow: { start: at(startInMs), end: at(endInMs) },
      ...(explanationUrl === undefined ? {} : { explanationURL: explanationUrl }),
    }),
    { retryAfter },
  )
}

/** Everything is to be replaced at once. */
export const ariPast = (): Rule[] =>
  ariWindow({ startInMs: -3_600_000, endInMs: -1_800_000 }, sixHours, 'https://ca.example/incident')

/** §4.3.2: as if there were no answer. */
export const ariEndBeforeStart = (): Rule[] => ariWindow({ startInMs: 3_600_000, endInMs: -3_600_000 })

/** Another one at every request: no JSON, other types, other members, times that are none. */
export const ariGarbage = (): Rule[] => {
  const bodies: readonly (string | JsonObject)[] = [
    ...['', '[]', 'null', '{"suggestedWindow":', '<html></html>'],
    {},
    { suggestedWindow: null },
    { suggestedWindow: { start: 'yesterday', end: 'tomorrow' } },
    { suggestedWindow: { start: 0, end: 1 } },
    { suggestedWindow: { start: '2026-01-01T00:00:00Z' } },
    { suggestedWindow: { start: '9999-99-99T99:99:99Z', end: '+275760-09-13T00:00:00.001Z' } },
  ]
  return ariAnswers(({ endpointCount }) => bodies[endpointCount % bodies.length] ?? '', { retryAfter: 'soon' })
}

export const ariError = (status: number): Rule[] =>
  ariAnswers({ type: 'about:blank', status, detail: 'no renewal information' }, { status })

/** newOrder with `replaces` is refused; without, it is not (RFC 9773 §5). */
export const alreadyReplaced = (status = 409, problemType = 'alreadyReplaced'): Rule[] => [
  {
    endpoint: 'newOrder',
    when: ({ payload }) => payload?.replaces !== undefined,
    action: { do: 'status', status, problemType, detail: 'another order replaces that certificate' },
  },
]
