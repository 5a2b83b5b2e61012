import type { IssuanceEvent, PluginContext } from './plugin-api.ts'
import type { AuditEvent, AuditEvents } from './state/audit-events.ts'

/** Takes notes without making anybody wait. Disposing of it writes down what is left. */
export interface AuditLog extends AsyncDisposable {
  note(event: AuditEvent): void
}

const maxWaiting = 1000
const batchSize = 100
/** Anybody can have requests refused: so many a minute are written down one by one, the others are counted. */
const refusalsPerMinute = 60
const minuteMs = 60_000
const refused = 'request.rejected'

/** Written in batches; a state that cannot be written is logged, and fails nothing. */
export function createAuditLog(events: AuditEvents, { clock, log }: PluginContext): AuditLog {
  let waiting: AuditEvent[] = []
  let writing: Promise<void> | undefined
  const minute = { beganAtMs: 0, refusals: 0 }

  async function write(): Promise<void> {
    // What is told in the same moment is written together.
    await undefined
    while (waiting.length > 0) {
      const batch = waiting.slice(0, batchSize)
      waiting = waiting.slice(batchSize)
      await events
        .add(batch)
        .catch((error: unknown) => log.warn('events could not be written to the audit log', { error, events: batch }))
    }
  }

  function enqueue(event: AuditEvent): void {
    if (waiting.length >= maxWaiting) log.warn('the audit log cannot keep up; an event is only here', { event })
    else waiting.push(event)
    writing ??= write().finally(() => {
      writing = undefined
    })
  }

  /** @returns whether the refusal is to be written down by itself */
  function countRefusal(atMs: number): boolean {
    if (Math.abs(atMs - minute.beganAtMs) >= minuteMs) {
      const more = minute.refusals - refusalsPerMinute
      if (more > 0)
        enqueue({ atMs, kind: refused, names: [], block: undefined, remoteAddress: undefined, facts: { more } })
      Object.assign(minute, { beganAtMs: atMs, refusals: 0 })
    }
    minute.refusals += 1
    return minute.refusals <= refusalsPerMinute
  }

  return {
    note(event) {
      if (event.kind === refused && !countRefusal(clock.nowMs())) return
      enqueue(event)
    },
    async [Symbol.asyncDispose]() {
      await writing
      await write()
    },
  }
}

export function auditEventOf(event: IssuanceEvent): AuditEvent {
  const { kind, atMs, names, remoteAddress } = event
  const common = { kind, atMs, names, remoteAddress }
  switch (event.kind) {
    case 'certificate.issued':
    case 'certificate.installed': {
      const notAfter = new Date(event.notAfterMs).toISOString()
      return { ...common, block: event.block, facts: { serial: event.serial, notAfter } }
    }
    case 'certificate.forwarded':
      return { ...common, block: event.block, facts: {} }
    case 'certificate.not-served':
    case 'certificate.served':
      return {
        ...common,
        block: event.block,
        facts: { serial: event.serial, place: event.place, reason: event.reason },
      }
    case 'request.rejected':
      return { ...common, block: undefined, facts: { reason: event.reason } }
    case 'issuance.failed':
      return { ...common, block: event.block, facts: { code: event.code, reason: event.reason } }
    default:
      return event satisfies never
  }
}
