const maxWaitMs = 24 * 3_600_000

/**
 * RFC 9110 §10.2.3: seconds or an HTTP-date. Nonsense is no answer; what lies too far ahead is cut to a day.
 * @returns the wait in milliseconds from now
 */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined
  const text = value.trim()
  if (/^\d{1,10}$/.test(text)) return Math.min(Number(text) * 1000, maxWaitMs)
  if (!httpDates.some((pattern) => pattern.test(text))) return undefined
  const atMs = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`)
  return Number.isNaN(atMs) ? undefined : Math.min(Math.max(atMs - nowMs, 0), maxWaitMs)
}

/** RFC 9110 §5.6.7: the form that is sent today, and the two that must still be understood. */
const httpDates = [
  /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/,
]
