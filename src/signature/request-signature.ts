import { type ContentDigest, parseContentDigest } from './content-digest.ts'
import {
  type BareItem,
  type Dictionary,
  formatInnerList,
  type InnerList,
  isInnerList,
  maxFieldLength,
  parseDictionary,
  StructuredFieldError,
} from './structured-field.ts'

/** What a signature can be over; names in lower case, values as sent. */
export type SignedRequest = {
  readonly method: string
  /** The request target as it was sent. */
  readonly path: string
  readonly headers: ReadonlyMap<string, readonly string[]>
}

/** A signature (RFC 9421) that a request carries; nobody knows yet whether it holds. */
export type RequestSignature = {
  readonly keyId: string
  readonly nonce: string
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
  readonly algorithm: string | undefined
  readonly signature: Uint8Array
  /** Of the body, where the request has one. */
  readonly contentDigest: ContentDigest | undefined
  /** What was signed, if the signer called us by this name. */
  baseFor(authority: string): Buffer
}

/** 400: it is not understood, whoever asks. 401: it does not say what it must. */
export class SignatureError extends Error {
  override readonly name = 'SignatureError'
  readonly status: 400 | 401
  constructor(status: 400 | 401, message: string) {
    super(message)
    this.status = status
  }
}

/** Chooses among several signatures; an application's own (RFC 9421 §2.3). */
export const applicationTag = 'acme-mgmt'
const maxKeyIdLength = 200
const noncePattern = /^[\x21-\x7e]{16,128}$/

export function isSigned({ headers }: Pick<SignedRequest, 'headers'>): boolean {
  return headers.has('signature') || headers.has('signature-input')
}

/** What a signature of this request has to cover. A body is wanted where there is one, and where there should be. */
export function requiredComponents({ method, path, headers }: SignedRequest): readonly string[] {
  const length = headers.get('content-length')?.[0] ?? '0'
  const hasBody = !['GET', 'HEAD'].includes(method) || headers.has('transfer-encoding') || !/^0+$/.test(length)
  return [
    ...['@method', '@authority', '@path'],
    ...(path.includes('?') ? ['@query'] : []),
    ...(hasBody ? ['content-digest'] : []),
  ]
}

/** What a 401 asks for (RFC 9421 §5.1). */
export function acceptSignature(request: SignedRequest): string {
  const components = requiredComponents(request).map((name) => `"${name}"`)
  return `sig1=(${components.join(' ')});created;nonce;keyid`
}

/** @throws SignatureError */
export function readSignature(request: SignedRequest): RequestSignature {
  const inputs = readDictionary(request, 'signature-input')
  const signatures = readDictionary(request, 'signature')
  const { label, input } = chooseInput(inputs)
  const signature = signatures.get(label)
  if (signature === undefined || !('value' in signature) || !(signature.value instanceof Uint8Array))
    throw new SignatureError(400, `the Signature header has no ${label}=:base64:`)
  const components = readComponents(input)
  const missing = requiredComponents(request).filter((name) => !components.includes(name))
  if (missing.length > 0) throw new SignatureError(401, `the signature must cover ${missing.join(' and ')}, too`)
  const { parameters } = input
  const createdAtMs = readTime(parameters.get('created'), 'created')
  if (createdAtMs === undefined) throw new SignatureError(401, 'the signature must say when it was created')
  const nonce = readText(parameters.get('nonce'), 'nonce') ?? ''
  if (!noncePattern.test(nonce))
    throw new SignatureError(401, 'the signature must have a nonce of 16 to 128 characters')
  const keyId = readText(parameters.get('keyid'), 'keyid') ?? ''
  if (keyId === '' || keyId.length > maxKeyIdLength) throw new SignatureError(401, 'the signature must name its keyid')
  const lines = components.map((name) =>
    name === '@authority' ? undefined : `"${name}": ${componentValue(name, request)}`,
  )
  const paramsLine = `"@signature-params": ${formatInnerList(input)}`
  return {
    keyId,
    nonce,
    createdAtMs,
    expiresAtMs: readTime(parameters.get('expires'), 'expires'),
    algorithm: readText(parameters.get('alg'), 'alg'),
    signature: signature.value,
    contentDigest: components.includes('content-digest') ? readDigest(request) : undefined,
    baseFor: (authority) =>
      Buffer.from([...lines.map((line) => line ?? `"@authority": ${authority}`), paramsLine].join('\n'), 'latin1'),
  }
}

function readDictionary(request: SignedRequest, name: string): Dictionary {
  const value = fieldValue(request, name) ?? ''
  try {
    return parseDictionary(value)
  } catch (error) {
    throw malformed(name, error)
  }
}

function readDigest(request: SignedRequest): ContentDigest {
  try {
    return parseContentDigest(fieldValue(request, 'content-digest') ?? '')
  } catch (error) {
    throw malformed('content-digest', error)
  }
}

function malformed(name: string, error: unknown): unknown {
  if (!(error instanceof StructuredFieldError)) return error
  return new SignatureError(400, `the header ${name} cannot be read: ${error.message}`)
}

/** Exactly one counts, whatever its label: the only one, or of several the one with our tag. */
function chooseInput(inputs: Dictionary): { label: string; input: InnerList } {
  const tagged = [...inputs].filter(([, member]) => member.parameters.get('tag') === applicationTag)
  const candidates = inputs.size > 1 ? tagged : [...inputs]
  const [[label, input] = ['', undefined]] = candidates
  if (candidates.length !== 1)
    throw new SignatureError(
      400,
      inputs.size === 0
        ? 'there is no Signature-Input'
        : `one signature is wanted, here are ${inputs.size}: mark ours with ;tag="${applicationTag}"`,
    )
  if (!isInnerList(input)) throw new SignatureError(400, `in Signature-Input ${label} is no list of components`)
  const tag = input.parameters.get('tag')
  if (tag !== undefined && tag !== applicationTag)
    throw new SignatureError(400, `the signature is for another application: its tag is not "${applicationTag}"`)
  return { label, input }
}

function readComponents({ items }: InnerList): string[] {
  return items.map(({ value, parameters }, index) => {
    if (typeof value !== 'string') throw new SignatureError(400, 'the name of a signed component is no string')
    if (parameters.size > 0) throw new SignatureError(400, `parameters of components are not understood (${value})`)
    if (items.findIndex((other) => other.value === value) !== index)
      throw new SignatureError(400, `the component ${value} is there twice`)
    return value
  })
}

function componentValue(name: string, request: SignedRequest): string {
  const [path = '', ...query] = request.path.split('?')
  if (name === '@method') return request.method
  if (name === '@path') return path === '' ? '/' : path
  if (name === '@query') return `?${query.join('?')}`
  const isField = /^[a-z0-9!#$%&'*+.^_`|~-]{1,100}$/.test(name) && !['signature', 'signature-input'].includes(name)
  if (!isField) throw new SignatureError(400, `the component ${name} is not understood`)
  const value = fieldValue(request, name)
  if (value === undefined) throw new SignatureError(400, `the signature covers ${name}, which the request has not`)
  return value
}

/** RFC 9421 §2.1: every line without the space around it, in their order. */
function fieldValue({ headers }: SignedRequest, name: string): string | undefined {
  const lines = headers.get(name)
  if (lines === undefined) return undefined
  if (lines.reduce((sum, line) => sum + line.length, 0) > 2 * maxFieldLength)
    throw new SignatureError(400, `the header ${name} is too long`)
  return lines.map((line) => line.replace(/^[ \t]+|[ \t]+$/g, '')).join(', ')
}

function readTime(value: BareItem | undefined, name: string): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number' || value < 0)
    throw new SignatureError(400, `${name} is no number of seconds since 1970`)
  return value * 1000
}

function readText(value: BareItem | undefined, name: string): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  throw new SignatureError(400, `${name} is no string`)
}
