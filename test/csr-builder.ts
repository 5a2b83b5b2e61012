// Certificate requests octet by octet, also such as no tool makes: DER is written here by hand, so that what our
// parser reads is checked against something that shares nothing with it.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as signWith,
} from 'node:crypto'

// 1. DER ------------------------------------------------------------------------------------------

type Part = Uint8Array | string

function octetsOf(parts: readonly Part[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'utf8') : part)))
}

function lengthOctets(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length)
  const hex = length.toString(16)
  const octets = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  return Buffer.concat([Buffer.of(0x80 | octets.length), octets])
}

/** Any element: a tag octet, and its content. */
export function der(tag: number, ...content: readonly Part[]): Buffer {
  const octets = octetsOf(content)
  return Buffer.concat([Buffer.of(tag), lengthOctets(octets.length), octets])
}

export const sequence = (...parts: readonly Part[]): Buffer => der(0x30, ...parts)
export const set = (...parts: readonly Part[]): Buffer => der(0x31, ...parts)
export const octetString = (...parts: readonly Part[]): Buffer => der(0x04, ...parts)
export const bitString = (...parts: readonly Part[]): Buffer => der(0x03, Buffer.of(0), ...parts)
export const utf8String = (text: Part): Buffer => der(0x0c, text)
export const nullValue = (): Buffer => der(0x05)

export function integer(value: bigint): Buffer {
  const hex = value.toString(16)
  const octets = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  return der(0x02, (octets[0] ?? 0) >= 0x80 ? Buffer.of(0) : '', octets)
}

export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const octets = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left & 0x7f) | 0x80)
    return groups
  })
  return der(0x06, Buffer.from(octets))
}

export function toPem(octets: Uint8Array, label = 'CERTIFICATE REQUEST'): string {
  const lines =
    Buffer.from(octets)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

// 2. keys -----------------------------------------------------------------------------------------

/** Something that a request can be signed with, and what the request says about it. */
export type RequestKey = {
  readonly spki: Uint8Array
  readonly sign: (toBeSigned: Uint8Array) => Uint8Array
  /** The AlgorithmIdentifier of these signatures. */
  readonly algorithm: Uint8Array
}

export const signatureOid = {
  md5WithRsa: '1.2.840.113549.1.1.4',
  sha1WithRsa: '1.2.840.113549.1.1.5',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  sha1WithEcdsa: '1.2.840.10045.4.1',
  sha256WithEcdsa: '1.2.840.10045.4.3.2',
} as const

/** A key that node:crypto can sign with. */
export function keyOf(key: KeyObject, digest = 'sha256', algorithmOid?: string): RequestKey {
  const isRsa = key.asymmetricKeyType === 'rsa'
  const name = algorithmOid ?? (isRsa ? signatureOid.sha256WithRsa : signatureOid.sha256WithEcdsa)
  return {
    spki: createPublicKey(key).export({ type: 'spki', format: 'der' }),
    sign: (toBeSigned) => signWith(digest, toBeSigned, key),
    algorithm: isRsa ? sequence(oid(name), nullValue()) : sequence(oid(name)),
  }
}

let sharedEcKey: RequestKey | undefined

/** A good P-256 key, the same at every call: making keys is what takes the time. */
export function ecKey(): RequestKey {
  sharedEcKey ??= keyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  return sharedEcKey
}

export function privateKeyFromPem(pem: string): KeyObject {
  return createPrivateKey(pem)
}

const sha256DigestInfo = Buffer.from('3031300d060960864801650304020105000420', 'hex')

function powerModulo(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  let square = base % modulus
  for (let left = exponent; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = (result * square) % modulus
    square = (square * square) % modulus
  }
  return result
}

function inverseModulo(value: bigint, modulus: bigint): bigint | undefined {
  let [r, nextR, t, nextT] = [modulus, value % modulus, 0n, 1n]
  while (nextR !== 0n) {
    const quotient = r / nextR
    ;[r, nextR] = [nextR, r - quotient * nextR]
    ;[t, nextT] = [nextT, t - quotient * nextT]
  }
  return r === 1n ? ((t % modulus) + modulus) % modulus : undefined
}

export type RsaNumbers = {
  readonly modulus: bigint
  readonly exponent?: bigint
  /** φ of the modulus, to sign with. Without it, or where no signing exponent exists, the signature is noise. */
  readonly phi?: bigint
}

export function rsaSpki(modulus: bigint, exponent: bigint): Buffer {
  const key = sequence(integer(modulus), integer(exponent))
  return sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), bitString(key))
}

/** RSA as in the book, because no library signs with keys that are this bad: the self-signature does hold. */
export function rsaKey({ modulus, exponent = 65537n, phi }: RsaNumbers): RequestKey {
  const octets = Math.ceil(modulus.toString(2).length / 8)
  const signing = phi === undefined ? undefined : inverseModulo(exponent, phi)
  return {
    spki: rsaSpki(modulus, exponent),
    algorithm: sequence(oid(signatureOid.sha256WithRsa), nullValue()),
    sign: (toBeSigned) => {
      if (signing === undefined) return Buffer.alloc(octets, 0x55)
      const info = Buffer.concat([sha256DigestInfo, createHash('sha256').update(toBeSigned).digest()])
      const padding = Buffer.alloc(octets - 3 - info.length, 0xff)
      const block = Buffer.concat([Buffer.of(0, 1), padding, Buffer.of(0), info])
      const signature = powerModulo(BigInt(`0x${block.toString('hex')}`), signing, modulus)
      return Buffer.from(signature.toString(16).padStart(octets * 2, '0'), 'hex')
    },
  }
}

// 3. names and extensions -------------------------------------------------------------------------

export const dnsName = (name: Part): Buffer => der(0x82, name)
export const ipName = (...octets: number[]): Buffer => der(0x87, Buffer.from(octets))
export const emailName = (address: string): Buffer => der(0x81, address)
export const uriName = (uri: string): Buffer => der(0x86, uri)
export const registeredIdName = (id: string): Buffer => Buffer.concat([Buffer.of(0x88), oid(id).subarray(1)])
export const otherName = (typeOid: string, value: Uint8Array): Buffer => der(0xa0, oid(typeOid), der(0xa0, value))
export const directoryName = (...commonNames: readonly Part[]): Buffer => der(0xa4, subjectOf(commonNames))

const extensionOid = {
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  tlsFeature: '1.3.6.1.5.5.7.1.24',
  ctPoison: '1.3.6.1.4.1.11129.2.4.3',
  signedCertificateTimestamps: '1.3.6.1.4.1.11129.2.4.2',
} as const

export type ExtensionName = keyof typeof extensionOid

export function extension(name: ExtensionName, value: Uint8Array, critical = false): Buffer {
  return sequence(oid(extensionOid[name]), critical ? der(0x01, Buffer.of(0xff)) : '', octetString(value))
}

export const subjectAltNames = (...names: readonly Uint8Array[]): Buffer =>
  extension('subjectAltName', sequence(...names))

export const attributeOid = {
  extensionRequest: '1.2.840.113549.1.9.14',
  microsoftExtensions: '1.3.6.1.4.1.311.2.1.14',
  challengePassword: '1.2.840.113549.1.9.7',
} as const

export const attribute = (type: string, ...values: readonly Uint8Array[]): Buffer => sequence(oid(type), set(...values))

export const extensionRequest = (...extensions: readonly Uint8Array[]): Buffer =>
  attribute(attributeOid.extensionRequest, sequence(...extensions))

const commonNameOid = '2.5.4.3'

/** A Name with these common names: text becomes a UTF8String, octets stand as they are. */
export function subjectOf(commonNames: readonly Part[]): Buffer {
  const relative = commonNames.map((name) =>
    set(sequence(oid(commonNameOid), typeof name === 'string' ? utf8String(name) : name)),
  )
  return sequence(...relative)
}

// 4. the request ----------------------------------------------------------------------------------

export type CsrDraft = {
  readonly key?: RequestKey
  /** Signs in place of `key`, whose public half stays in the request. */
  readonly signer?: RequestKey
  readonly commonNames?: readonly Part[]
  /** DNS names as text, or whole GeneralNames as octets. */
  readonly names?: readonly Part[]
  /** Beside the one for `names`. */
  readonly extensions?: readonly Uint8Array[]
  /** All attributes, in place of the one for `names` and `extensions`. */
  readonly attributes?: readonly Uint8Array[]
  /** Changes what was signed already. */
  readonly alter?: (toBeSigned: Buffer) => Buffer
}

/** The DER of a request (RFC 2986 §4). */
export function buildCsr(draft: CsrDraft): Buffer {
  const key = draft.key ?? ecKey()
  const names = (draft.names ?? []).map((name) => (typeof name === 'string' ? dnsName(name) : name))
  const extensions = [...(names.length === 0 ? [] : [subjectAltNames(...names)]), ...(draft.extensions ?? [])]
  const attributes = draft.attributes ?? (extensions.length === 0 ? [] : [extensionRequest(...extensions)])
  const info = sequence(integer(0n), subjectOf(draft.commonNames ?? []), key.spki, der(0xa0, ...attributes))
  const signer = draft.signer ?? key
  return sequence(draft.alter?.(info) ?? info, signer.algorithm, bitString(signer.sign(info)))
}

export function buildCsrPem(draft: CsrDraft): string {
  return toPem(buildCsr(draft))
}
