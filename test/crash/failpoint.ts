// Where a process is killed, as a text: `update orders#2:after` is after the second update of the table `orders`,
// `17:before` before the seventeenth event, whatever it is.

/** `half`: of a file only the first half was written. `during`: the request was sent, and nobody waits for the answer. */
export type Phase = 'before' | 'during' | 'half' | 'after'

/** Something that cannot be taken back: a write, a request, an answer. Numbered as they begin. */
export type CrashEvent = { readonly n: number; readonly label: string; readonly nth: number }

/** A line of the trace. */
export type TraceLine = CrashEvent | { readonly order: string } | { readonly died: string }

export type Failpoint = {
  readonly event: number | { readonly label: string; readonly nth: number }
  readonly at: Phase
}

/** Names of environment variables; not ACMEMS_…, which would be settings of the server. */
export const failpointVariable = 'FAILPOINT'
export const traceVariable = 'FAILPOINT_TRACE'

/** @throws Error when the text is no such point */
export function parseFailpoint(text: string): Failpoint {
  const [, number, label = '', nth, at] = /^(?:(\d+)|(.+)#(\d+)):(before|during|half|after)$/.exec(text) ?? []
  if (at === undefined) throw new Error(`${JSON.stringify(text)} is no failpoint; write 17:before or "label#2:after"`)
  return { event: number === undefined ? { label, nth: Number(nth) } : Number(number), at: at as Phase }
}

export function formatFailpoint({ label, nth }: Omit<CrashEvent, 'n'>, at: Phase): string {
  return `${label}#${nth}:${at}`
}

/** Where a process can be killed at this event. */
export function phasesOf(label: string): readonly Phase[] {
  if (/^(GET|HEAD|POST|dns) /.test(label)) return ['before', 'during', 'after']
  if (label.startsWith('file write ')) return ['before', 'half', 'after']
  return ['before', 'after']
}
