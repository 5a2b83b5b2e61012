import type { RequestListener } from 'node:http'
import { type Answer, type AnsweringParts, createAnsweringDoor, refuse } from '../http/answering-door.ts'
import { windowForHost } from '../issuance/host-window.ts'
import type { WatchedCertificates } from '../issuance/records.ts'

/** Where hosts ask when to renew; the certificate's id follows. */
export const renewalInfoPath = '/renewal-info/'

export type RenewalInfoParts = Omit<AnsweringParts, 'what' | 'unavailable' | 'isRoutine'> & {
  readonly certificates: WatchedCertificates
}

/** Who asks is written down at most so often. */
const watchedResolutionMs = 6 * 3_600_000
/** RFC 5280 §4.1.2.2: a serial number has 20 octets at most; some have a few more. */
const idPattern = /^[A-Za-z0-9_-]{1,128}\.([A-Za-z0-9_-]{1,44})$/

/**
 * `GET /renewal-info/CERTID` (RFC 9773 §4): when a host should replace a certificate that it has from us. For everybody,
 * as at a CA: who asks knows the certificate, and learns nothing else.
 */
export function createRenewalInfoDoor({ certificates, ...parts }: RenewalInfoParts): RequestListener {
  const about = { what: 'renewal information', unavailable: 'nothing can be looked up now', isRoutine: true }

  async function answer(url: string): Promise<Answer> {
    const [id = ''] = url.slice(renewalInfoPath.length).split('?', 1)
    const serial = serialOf(id)
    if (serial === undefined) return refuse(400, 'this is no id of a certificate (RFC 9773, section 4.1)')
    const entry = await certificates.findBySerial(serial)
    if (entry === undefined) return refuse(404, 'this certificate is not known here')
    const nowMs = parts.clock.nowMs()
    if (Math.abs(nowMs - (entry.watchedAtMs ?? 0)) > watchedResolutionMs)
      await certificates.noteWatched(entry.id, nowMs).catch((error: unknown) => {
        parts.log.warn('who asks when to renew could not be written down', { error })
      })
    const { info, retryAfterMs } = windowForHost(entry, nowMs)
    const body = {
      suggestedWindow: { start: new Date(info.startMs).toISOString(), end: new Date(info.endMs).toISOString() },
      ...(info.explanationUrl === undefined ? {} : { explanationURL: info.explanationUrl }),
    }
    const headers = { 'content-type': 'application/json', 'retry-after': String(Math.round(retryAfterMs / 1000)) }
    return { status: 200, text: `${JSON.stringify(body)}\n`, headers, log: { names: entry.names, ...body } }
  }

  return createAnsweringDoor({ ...parts, ...about }, async ({ method, url = '' }) =>
    method === 'GET' || method === 'HEAD'
      ? await answer(url)
      : refuse(405, 'only GET and HEAD are understood here', { allow: 'GET, HEAD' }),
  )
}

/** As the register has it: hexadecimal, without the octet that keeps it positive. undefined: it is no id */
function serialOf(id: string): string | undefined {
  const encoded = idPattern.exec(id)?.[1]
  if (encoded === undefined) return undefined
  const octets = Buffer.from(encoded, 'base64url')
  const first = octets.findIndex((octet) => octet !== 0)
  return first < 0 ? undefined : octets.subarray(first).toString('hex').toUpperCase()
}
