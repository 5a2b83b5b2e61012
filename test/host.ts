// What a host does: make a key and a request with openssl, post it, look at what comes back.
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { request } from 'undici'
import { makeTempFolder } from './peers/child.ts'

export type CsrWish = {
  readonly names?: readonly string[]
  readonly addresses?: readonly string[]
  readonly commonName?: string
  readonly key?: 'ec' | 'rsa' | 'p384'
  /** More -addext values. */
  readonly extensions?: readonly string[]
}

const newKey = {
  ec: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  p384: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  rsa: ['rsa:2048'],
} as const

/** A PEM request as openssl makes it. */
export function makeCsr(wish: CsrWish): string {
  using folder = makeTempFolder('csr')
  const keyFile = join(folder.path, 'key.pem')
  const csrFile = join(folder.path, 'request.csr')
  const names = [
    ...(wish.names ?? []).map((name) => `DNS:${name}`),
    ...(wish.addresses ?? []).map((address) => `IP:${address}`),
  ]
  const san = names.length === 0 ? [] : ['-addext', `subjectAltName=${names.join(',')}`]
  const more = (wish.extensions ?? []).flatMap((extension) => ['-addext', extension])
  const subject = wish.commonName === undefined ? '/' : `/CN=${wish.commonName}`
  const key = ['-newkey', ...newKey[wish.key ?? 'ec'], '-nodes', '-keyout', keyFile]
  const args = ['req', '-new', ...key, '-subj', subject, ...san, ...more, '-out', csrFile]
  execFileSync('openssl', args, { stdio: 'pipe' })
  return readFileSync(csrFile, 'utf8')
}

export type SignReply = { readonly status: number; readonly text: string; readonly headers: Headers }

export async function postCsr(
  signUrl: string,
  csrPem: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<SignReply> {
  // Not fetch: it sends a request again, unasked, when the answer is 421.
  const body = typeof csrPem === 'string' ? csrPem : Buffer.from(csrPem)
  const response = await request(signUrl, { method: 'POST', body, headers, headersTimeout: 0 })
  const received = Object.entries(response.headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] as [string, string]],
  )
  return { status: response.statusCode, text: await response.body.text(), headers: new Headers(received) }
}

export function certificatesOf(pem: string): X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (block) => new X509Certificate(block),
  )
}

export function namesOf(certificate: X509Certificate | undefined): string[] {
  return (certificate?.subjectAltName ?? '').split(', ').filter(Boolean).sort()
}
