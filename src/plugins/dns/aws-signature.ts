import { createHash, createHmac } from 'node:crypto'

export type AwsCredentials = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

export type AwsRequest = {
  readonly method: string
  readonly host: string
  /** As it stands in the request, already percent-encoded. */
  readonly path: string
  readonly query: readonly (readonly [name: string, value: string])[]
  /** More headers to sign, names in lower case. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body: string
}

export type AwsScope = { readonly region: string; readonly service: string }

/** AWS Signature Version 4: the headers that make this request ours. */
export function signAwsRequest(
  request: AwsRequest,
  credentials: AwsCredentials,
  { region, service }: AwsScope,
  nowMs: number,
): Record<string, string> {
  const time = new Date(nowMs).toISOString().replace(/[-:]|\.\d{3}/g, '')
  const token = credentials.sessionToken === undefined ? {} : { 'x-amz-security-token': credentials.sessionToken }
  const signed: Record<string, string> = { ...request.headers, host: request.host, 'x-amz-date': time, ...token }
  const names = Object.keys(signed).sort()
  const canonical = [
    request.method,
    // Services other than S3 have the path encoded twice.
    request.path.split('/').map(encode).join('/'),
    encodeAwsQuery(request.query),
    ...names.map((name) => `${name}:${signed[name]?.trim().replace(/ +/g, ' ')}`),
    '',
    names.join(';'),
    sha256(request.body),
  ].join('\n')
  const scope = [time.slice(0, 8), region, service, 'aws4_request']
  const toSign = ['AWS4-HMAC-SHA256', time, scope.join('/'), sha256(canonical)].join('\n')
  const key = scope.reduce<Buffer>(
    (secret, part) => hmac(secret, part),
    Buffer.from(`AWS4${credentials.secretAccessKey}`),
  )
  const { host: _, ...sent } = signed
  const credential = `${credentials.accessKeyId}/${scope.join('/')}`
  const signature = hmac(key, toSign).toString('hex')
  return {
    ...sent,
    authorization: `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`,
  }
}

/** Sorted by octets, encoded as AWS wants it: the same text is signed and sent. */
export function encodeAwsQuery(query: AwsRequest['query']): string {
  const pairs = query.map(([name, value]) => [encode(name), encode(value)] as const)
  return pairs
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
