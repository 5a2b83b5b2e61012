// Signs requests as RFC 9421 and RFC 9530 have it, and in every wrong way that a test asks for.
import { constants, createHash, createHmac, type KeyObject, randomBytes, sign } from 'node:crypto'
import { request } from 'node:http'

export type Algorithm =
  | 'rsa-v1_5-sha256'
  | 'rsa-pss-sha512'
  | 'ed25519'
  | 'ecdsa-p256-sha256'
  | 'ecdsa-p384-sha384'
  | 'hmac-sha256'

export type SigningWish = {
  readonly key: KeyObject | string
  readonly keyId: string
  readonly algorithm: Algorithm
  readonly der?: boolean
  readonly method?: string
  readonly authority: string
  readonly path?: string
  readonly body: string
  readonly components?: readonly string[]
  readonly created?: number | string
  readonly nonce?: string
  /** More parameters, as they are written. */
  readonly parameters?: string
  readonly label?: string
  readonly digest?: string
  /** Values of other components. */
  readonly fields?: Readonly<Record<string, string>>
}

export type HeaderLine = readonly [name: string, value: string]

export function digestOf(body: string, algorithm: 'sha256' | 'sha512' = 'sha256'): string {
  return `${algorithm.replace('sha', 'sha-')}=:${createHash(algorithm).update(body).digest('base64')}:`
}

export const defaultComponents = ['"@method"', '"@authority"', '"@path"', '"content-digest"']

export function makeNonce(): string {
  return randomBytes(12).toString('hex')
}

/** The three headers. */
export function signRequest(wish: SigningWish): HeaderLine[] {
  const { label = 'sig1', components = defaultComponents, nonce = makeNonce() } = wish
  const created = wish.created ?? Math.floor(Date.now() / 1000)
  const digest = wish.digest ?? digestOf(wish.body)
  const [path, query] = (wish.path ?? '/sign').split('?')
  const values: Record<string, string | undefined> = {
    '"@method"': wish.method ?? 'POST',
    '"@authority"': wish.authority,
    '"@path"': path,
    '"@query"': `?${query ?? ''}`,
    '"content-digest"': digest,
    ...wish.fields,
  }
  const params = `(${components.join(' ')});created=${created};nonce="${nonce}";keyid="${wish.keyId}"${wish.parameters ?? ''}`
  const base = [...components.map((name) => `${name}: ${values[name] ?? ''}`), `"@signature-params": ${params}`].join(
    '\n',
  )
  return [
    ['Content-Digest', digest],
    ['Signature-Input', `${label}=${params}`],
    ['Signature', `${label}=:${signBase(wish, Buffer.from(base, 'latin1')).toString('base64')}:`],
  ]
}

function signBase({ key, algorithm, der }: SigningWish, base: Buffer): Buffer {
  if (typeof key === 'string') return createHmac('sha256', key).update(base).digest()
  switch (algorithm) {
    case 'rsa-v1_5-sha256':
      return sign('sha256', base, key)
    case 'rsa-pss-sha512':
      return sign('sha512', base, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 })
    case 'ed25519':
      return sign(null, base, key)
    case 'hmac-sha256':
      return createHmac('sha256', key).update(base).digest()
    default:
      return sign(algorithm.endsWith('384') ? 'sha384' : 'sha256', base, {
        key,
        dsaEncoding: der === true ? 'der' : 'ieee-p1363',
      })
  }
}

export type Reply = {
  readonly status: number
  readonly text: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

export type Posting = {
  readonly port: number
  readonly path?: string
  readonly method?: string
  readonly host?: string
  readonly body: string
  readonly headers: readonly HeaderLine[]
  readonly localAddress?: string
}

/** Headers in their order, repeated where they are, octets beyond ASCII as they are. */
export function postTo({
  port,
  path = '/sign',
  method = 'POST',
  host,
  body,
  headers,
  localAddress,
}: Posting): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method,
        agent: false,
        ...(localAddress === undefined ? {} : { localAddress }),
        headers: [
          ['Host', host ?? `127.0.0.1:${port}`],
          ...(method === 'GET' ? [] : [['Content-Length', String(Buffer.byteLength(body))]]),
          ...headers,
        ].flat(),
        timeout: 20_000,
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }))
      },
    )
    outgoing.on('error', reject)
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')))
    outgoing.end(method === 'GET' ? undefined : body)
  })
}
