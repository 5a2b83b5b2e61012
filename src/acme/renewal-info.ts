import { isJsonObject, optionalString, optionalTimeMs } from './json-object.ts'

/** RFC 9773 §4.2: when the CA would like the certificate to be replaced. */
export type RenewalInfo = { readonly startMs: number; readonly endMs: number; readonly explanationUrl?: string }

/** What came of asking, sorted as RFC 9773 §4.3 sorts it. */
export type RenewalInfoReply =
  | { readonly outcome: 'window'; readonly info: RenewalInfo; readonly retryAfterMs: number | undefined }
  /** Time-outs, 5xx: ask again soon, ever more rarely. */
  | { readonly outcome: 'temporary failure'; readonly reason: string; readonly retryAfterMs?: number }
  /** Everything else: ask again in six hours. */
  | { readonly outcome: 'long-term failure'; readonly reason: string }

const maxUrlLength = 2048

/** @throws TypeError when it is none; a window that ends before it starts counts as none (RFC 9773 §4.2) */
export function parseRenewalInfo(body: unknown): RenewalInfo {
  if (!isJsonObject(body) || !isJsonObject(body.suggestedWindow)) throw new TypeError('there is no suggestedWindow')
  const startMs = optionalTimeMs(body.suggestedWindow, 'start')
  const endMs = optionalTimeMs(body.suggestedWindow, 'end')
  if (startMs === undefined || endMs === undefined) throw new TypeError('the suggestedWindow has no start or no end')
  if (endMs <= startMs) throw new TypeError('the suggestedWindow ends before it starts')
  const url = optionalString(body, 'explanationURL')
  const usable = url !== undefined && url.length <= maxUrlLength && /^https?:\/\/[\x21-\x7e]+$/.test(url)
  return { startMs, endMs, ...(usable ? { explanationUrl: url } : {}) }
}
