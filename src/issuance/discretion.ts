import type { IssuanceEvent, LogFields, Logger } from '../plugin-api.ts'

/** The keyed hash that stands for a text: always the same for the same, and nobody without the key can tell of what. */
export type AliasOf = (text: string) => string

export const unknownAlias: AliasOf = () => 'not recorded'

/** Only these are said of a request that is not recorded: none comes from the host, the CA or the request itself. */
const harmless: ReadonlySet<string> = new Set([
  'again',
  'block',
  'code',
  'durationMs',
  'failures',
  'issuer',
  'outcome',
  'profile',
  'requestId',
  'section',
  'status',
])

/** A log for one request that is not recorded: names become aliases, and only what is known to be harmless passes. */
export function discreetLog(log: Logger, aliasOf: AliasOf): Logger {
  const veil = (fields: LogFields = {}): LogFields =>
    Object.fromEntries(
      Object.entries(fields).flatMap(([key, value]): [string, unknown][] => {
        if (key === 'names' && Array.isArray(value)) return [[key, aliasesOf(value.map(String), aliasOf)]]
        if (key === 'name' && typeof value === 'string') return [[key, aliasOf(value)]]
        return harmless.has(key) ? [[key, value]] : []
      }),
    )
  return {
    debug: (message, fields) => log.debug(message, veil(fields)),
    info: (message, fields) => log.info(message, veil(fields)),
    warn: (message, fields) => log.warn(message, veil(fields)),
    error: (message, fields) => log.error(message, veil(fields)),
  }
}

/** What notifiers and the audit log may hear of a request that is not recorded. */
export function discreetEvent(event: IssuanceEvent, aliasOf: AliasOf): IssuanceEvent {
  const common = { atMs: event.atMs, names: aliasesOf(event.names, aliasOf), remoteAddress: '' }
  switch (event.kind) {
    case 'certificate.issued':
    case 'certificate.installed':
    case 'certificate.forwarded':
      return { kind: 'certificate.forwarded', ...common, block: event.block }
    case 'request.rejected':
      return { kind: event.kind, ...common, reason: '' }
    case 'issuance.failed':
      return { kind: event.kind, ...common, block: event.block, code: event.code, reason: '' }
    case 'certificate.not-served':
    case 'certificate.served':
      return { kind: event.kind, ...common, block: event.block, serial: '', place: '', reason: '' }
    default:
      return event satisfies never
  }
}

/** Sorted, so that their order says nothing about that of the request. */
function aliasesOf(names: readonly string[], aliasOf: AliasOf): string[] {
  return names.map(aliasOf).sort()
}
