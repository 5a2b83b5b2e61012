// Certificate requests that no CA should get, and some that only look so, posted to a running server.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  checkPrimeSync,
  createPrivateKey,
  generateKeyPairSync,
  generatePrimeSync,
  randomBytes,
  randomInt,
  type X509Certificate,
} from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Acmems, startAcmems } from './acmems.ts'
import {
  attribute,
  attributeOid,
  bitString,
  buildCsr,
  buildCsrPem,
  type CsrDraft,
  der,
  directoryName,
  dnsName,
  ecKey,
  emailName,
  extension,
  extensionRequest,
  integer,
  ipName,
  keyOf,
  nullValue,
  octetString,
  oid,
  otherName,
  type RequestKey,
  registeredIdName,
  rsaKey,
  sequence,
  signatureOid,
  subjectAltNames,
  toPem,
  uriName,
  utf8String,
} from './csr-builder.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

/** Everybody may ask, but not for everything; the limit lets through what must be refused for another reason. */
const config = `[account]
type = local
[mgmt]
max-size = 1m
default-verification =
[auth "own"]
all = yes
domain = example.org
domain = *.example.org
ip-address = 192.0.2.0/24
ip-address = 2001:db8::/32
[auth "deep"]
all = yes
domain = **.deep.example.net
[auth "wild"]
all = yes
domain = *.wild.example.net
wildcard = yes
[auth "wild in vain"]
all = yes
domain = www.plain.example.net
wildcard = yes
[auth "few"]
all = yes
domain = *.few.example.net
max-names = 25
[auth "another host"]
ip = 127.0.0.77
domain = *.secret.example.com
`
const maxRowMs = 2000
const maxLineLength = 1100

let acmems: Acmems
before(async () => {
  acmems = await startAcmems(config)
})
after(() => acmems.stop())

type Row = {
  readonly name: string
  readonly body: () => string | Uint8Array
  readonly status: number | readonly number[]
  readonly says?: RegExp
  /** What the certificate names, when there is one. */
  readonly names?: readonly string[]
  readonly check?: (leaf: X509Certificate) => void
}

/** One short line for a person, and nothing of our inside. */
function assertPlainLine(text: string, contentType: string | null): void {
  assert.match(contentType ?? '', /^text\/plain\b/)
  assert.match(text, /^[\x20-\x7e]+\n$/, `one printable line: ${JSON.stringify(text)}`)
  assert.ok(text.length <= maxLineLength, `short: ${JSON.stringify(text)}`)
  assert.doesNotMatch(text, /\bat .*:\d+|Error:|node:|\.[tj]s\b|FST_|undefined|\[object/, 'nothing of our inside')
}

async function runRow(row: Row): Promise<void> {
  const body = row.body()
  const startedMs = performance.now()
  const reply = await postCsr(acmems.signUrl, body)
  const tookMs = performance.now() - startedMs
  const wanted = typeof row.status === 'number' ? [row.status] : row.status
  assert.ok(wanted.includes(reply.status), `${reply.status} instead of ${wanted.join(' or ')}: ${reply.text}`)
  assert.ok(tookMs < maxRowMs, `took ${tookMs} ms`)
  if (reply.status === 200) {
    const [leaf] = certificatesOf(reply.text)
    assert.ok(leaf !== undefined)
    if (row.names !== undefined) assert.deepEqual(namesOf(leaf), [...row.names].sort())
    row.check?.(leaf)
  } else {
    assertPlainLine(reply.text, reply.headers.get('content-type'))
    if (row.says !== undefined) assert.match(reply.text, row.says)
  }
}

function group(title: string, rows: readonly Row[]): void {
  describe(title, () => {
    for (const row of rows) test(row.name, () => runRow(row))
  })
}

const built = (draft: CsrDraft) => () => buildCsrPem(draft)
const good = (...names: string[]) => buildCsrPem({ names: names.length === 0 ? ['www.example.org'] : names })
const okNames = ['www.example.org']
const dns = (...names: string[]) => names.map((name) => `DNS:${name}`)

type OpensslWish = {
  /** Arguments of genpkey; a file name in them stands in the folder. */
  readonly key: readonly string[]
  readonly parameters?: readonly string[]
  readonly digest?: string
  readonly extensions?: readonly string[]
  readonly subject?: string
}

/** What openssl itself makes of it, for everything that openssl is able to make. */
function opensslCsr(wish: OpensslWish): string {
  using folder = makeTempFolder('csr')
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: folder.path })
  if (wish.parameters !== undefined) openssl('genpkey', '-genparam', ...wish.parameters, '-out', 'parameters.pem')
  openssl('genpkey', ...wish.key, '-out', 'key.pem')
  const san = wish.extensions ?? ['subjectAltName=DNS:www.example.org']
  openssl(
    ...['req', '-new', '-key', 'key.pem', '-subj', wish.subject ?? '/', '-out', 'request.csr'],
    ...(wish.digest === undefined ? [] : [wish.digest]),
    ...san.flatMap((value) => ['-addext', value]),
  )
  return readFileSync(join(folder.path, 'request.csr'), 'utf8')
}

const opensslEc = (curve: string, ...more: string[]) => [
  '-algorithm',
  'EC',
  '-pkeyopt',
  `ec_paramgen_curve:${curve}`,
  ...more,
]
const opensslRsa = (bits: number, ...more: string[]) => [
  '-algorithm',
  'RSA',
  '-pkeyopt',
  `rsa_keygen_bits:${bits}`,
  ...more,
]
const withExtension =
  (...extensions: string[]) =>
  () =>
    opensslCsr({ key: opensslEc('P-256'), extensions })

// what is no request ------------------------------------------------------------------------------

const html = '<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>\n'
const ecDer = buildCsr({ names: okNames })
const ecPem = toPem(ecDer)

group('15: what is no request', [
  { name: 'empty body', body: () => '', status: 415 },
  { name: 'random octets', body: () => randomBytes(700), status: 415 },
  { name: 'HTML', body: () => html, status: 415 },
  { name: 'JSON', body: () => '{"csr":"MIIB"}', status: 415 },
  { name: 'DER without PEM', body: () => ecDer, status: 415 },
  { name: 'base64 without PEM lines', body: () => ecDer.toString('base64'), status: 415 },
  { name: 'a certificate', body: () => toPem(ecDer, 'CERTIFICATE'), status: 415 },
  { name: 'a public key', body: () => toPem(ecKey().spki, 'PUBLIC KEY'), status: 415 },
  { name: 'a request in UTF-16', body: () => Buffer.from(ecPem, 'utf16le'), status: 415 },
  { name: 'PEM around nothing', body: () => toPem(Buffer.alloc(0)), status: 415 },
  { name: 'PEM around no base64', body: () => ecPem.replace(/M/, '!'), status: 415 },
  { name: 'PEM around base64 of text', body: () => toPem(Buffer.from(html)), status: 415 },
  {
    name: 'PEM that ends as something else',
    body: () => ecPem.replace('END CERTIFICATE REQUEST', 'END CERTIFICATE'),
    status: 415,
  },
  { name: 'PEM that does not end', body: () => ecPem.replace(/-----END.*/, ''), status: 415 },
  {
    name: 'PEM beginnings without end',
    body: () => '-----BEGIN CERTIFICATE REQUEST-----\n'.repeat(20_000),
    status: 415,
  },
  {
    name: 'a PEM beginning, and white space without end',
    body: () => `-----BEGIN CERTIFICATE REQUEST-----${' \t'.repeat(400_000)}`,
    status: 415,
  },
  { name: 'hyphens', body: () => '-'.repeat(1_000_000), status: 415 },
])

group('16: more than one request', [
  { name: 'two requests', body: () => ecPem + good('example.org'), status: 400 },
  { name: 'the same twice', body: () => ecPem + ecPem, status: 400 },
  { name: 'a request and junk', body: () => `${ecPem}junk\n`, status: 400 },
  { name: 'a request and half of another', body: () => ecPem + ecPem.slice(0, 200), status: 400 },
  { name: 'a request and a certificate', body: () => ecPem + toPem(ecDer, 'CERTIFICATE'), status: 400 },
  // What openssl req -text and other tools write is a request all the same.
  {
    name: 'text before it',
    body: () => `Certificate Request:\n    Data:\n${ecPem}`,
    status: 200,
    names: dns(...okNames),
  },
  { name: 'CR LF', body: () => ecPem.replaceAll('\n', '\r\n'), status: 200, names: dns(...okNames) },
  { name: 'white space after it', body: () => `${ecPem}\r\n \n\n`, status: 200, names: dns(...okNames) },
  { name: 'the older label', body: () => toPem(ecDer, 'NEW CERTIFICATE REQUEST'), status: 200, names: dns(...okNames) },
])

const leakedKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const leakedPems = [
  leakedKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  leakedKey.export({ type: 'sec1', format: 'pem' }).toString(),
  leakedKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' }).toString(),
]

group(
  '17: a private key',
  leakedPems.flatMap((pem) => {
    const kind = pem.split('\n')[0] ?? ''
    const says = /private key.*exposed/i
    return [
      { name: `${kind} alone`, body: () => pem, status: 400, says },
      { name: `${kind} before the request`, body: () => pem + ecPem, status: 400, says },
      { name: `${kind} after the request`, body: () => ecPem + pem, status: 400, says },
      { name: `${kind} cut off`, body: () => pem.slice(0, 80) + ecPem, status: 400, says },
    ]
  }),
)

function nested(depth: number): Buffer {
  // From the inside out, without recursion: the test must not be what runs out of stack.
  let inner: Buffer = Buffer.of(0x05, 0x00)
  for (let i = 0; i < depth; i++) inner = sequence(inner)
  return inner
}

/** The request's outer length replaced by octets of our choice. */
const withOuterLength = (...octets: number[]) => toPem(Buffer.concat([Buffer.of(0x30, ...octets), ecDer.subarray(3)]))

group('18: damaged DER', [
  { name: 'trailing octets', body: () => toPem(Buffer.concat([ecDer, Buffer.of(0)])), status: 415 },
  { name: 'a second structure', body: () => toPem(Buffer.concat([ecDer, ecDer])), status: 415 },
  {
    name: 'indefinite length',
    body: () => toPem(Buffer.concat([Buffer.of(0x30, 0x80), ecDer.subarray(3), Buffer.alloc(2)])),
    status: 415,
  },
  { name: 'a length that is not minimal', body: () => withOuterLength(0x82, 0, ecDer.length - 3), status: 415 },
  { name: 'length 2^32', body: () => withOuterLength(0x85, 1, 0, 0, 0, 0), status: 415 },
  { name: 'length 2^32-1', body: () => withOuterLength(0x84, 255, 255, 255, 255), status: 415 },
  { name: 'length 2^63', body: () => withOuterLength(0x88, 0x80, 0, 0, 0, 0, 0, 0, 0), status: 415 },
  { name: 'a length of 126 octets', body: () => withOuterLength(0xfe, ...Array<number>(126).fill(255)), status: 415 },
  { name: 'the reserved length 0xff', body: () => withOuterLength(0xff), status: 415 },
  { name: '10,000 deep', body: () => toPem(nested(10_000)), status: 415 },
  { name: '10,000 deep and cut off', body: () => toPem(nested(10_000).subarray(0, 30_000)), status: 415 },
  { name: '100,000 elements', body: () => toPem(sequence(Buffer.alloc(200_000, Buffer.of(5, 0)))), status: 415 },
  {
    name: 'deep inside the alternative names',
    body: built({ extensions: [extension('subjectAltName', nested(10_000))] }),
    status: 400,
  },
  {
    name: 'a tag of several octets',
    body: () => toPem(Buffer.concat([Buffer.of(0x3f, 0x81, 0x01), ecDer.subarray(1)])),
    status: 415,
  },
  { name: 'a structure of something else', body: () => toPem(sequence(integer(1n), utf8String('x'))), status: 415 },
  {
    name: 'alternative names with trailing octets',
    body: built({
      extensions: [extension('subjectAltName', Buffer.concat([sequence(dnsName('www.example.org')), Buffer.of(5, 0)]))],
    }),
    status: 400,
  },
  {
    name: 'alternative names of indefinite length',
    body: built({
      extensions: [
        extension(
          'subjectAltName',
          Buffer.concat([Buffer.of(0x30, 0x80), dnsName('www.example.org'), Buffer.alloc(2)]),
        ),
      ],
    }),
    status: 400,
  },
  {
    name: 'alternative names that are none',
    body: built({ extensions: [extension('subjectAltName', integer(5n))] }),
    status: 400,
  },
  {
    name: 'an extension request that is none',
    body: built({ attributes: [attribute(attributeOid.extensionRequest, integer(5n))] }),
    status: 400,
  },
])

describe('18: damaged anywhere', () => {
  test('cut off after every octet', async () => {
    for (let end = 0; end < ecDer.length; end++) {
      await runRow({ name: '', body: () => toPem(ecDer.subarray(0, end)), status: 415 })
    }
  })
  test('the text cut off after every character', async () => {
    for (let end = 0; end < ecPem.length - 1; end++) {
      await runRow({ name: '', body: () => ecPem.slice(0, end), status: 415 })
    }
  })
  test('every octet altered', async () => {
    for (let position = 0; position < ecDer.length; position++) {
      for (const mask of [0x01, 0x80]) {
        const altered = Buffer.from(ecDer)
        altered[position] = (altered[position] ?? 0) ^ mask
        try {
          await runRow({ name: '', body: () => toPem(altered), status: [400, 415] })
        } catch (error) {
          throw new Error(`octet ${position} xor ${mask}`, { cause: error })
        }
      }
    }
  })
})

// signature and key -------------------------------------------------------------------------------

const otherEcKey = keyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
const goodRsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const alterName = (info: Buffer) => Buffer.from(info.toString('latin1').replace('www.', 'wwx.'), 'latin1')

group('19: self-signature', [
  { name: 'of an altered request', body: built({ names: okNames, alter: alterName }), status: 400, says: /signature/ },
  { name: 'of another key', body: built({ names: okNames, signer: otherEcKey }), status: 400, says: /signature/ },
  { name: 'of another kind of key', body: built({ names: okNames, signer: keyOf(goodRsa) }), status: 400 },
  { name: 'empty', body: built({ names: okNames, key: { ...ecKey(), sign: () => Buffer.alloc(0) } }), status: 400 },
  { name: 'zeros', body: built({ names: okNames, key: { ...ecKey(), sign: () => Buffer.alloc(70) } }), status: 400 },
  {
    name: 'r = s = 0',
    body: built({ names: okNames, key: { ...ecKey(), sign: () => sequence(integer(0n), integer(0n)) } }),
    status: 400,
  },
  {
    name: 'RSA, altered',
    body: built({ names: okNames, key: keyOf(goodRsa), alter: alterName }),
    status: 400,
    says: /signature/,
  },
  { name: 'RSA, good', body: built({ names: okNames, key: keyOf(goodRsa) }), status: 200, names: dns(...okNames) },
  {
    name: 'SHA-1, as openssl makes it',
    body: () => opensslCsr({ key: opensslRsa(2048), digest: '-sha1' }),
    status: 400,
    says: /SHA-256/,
  },
  {
    name: 'MD5, as openssl makes it',
    body: () => opensslCsr({ key: opensslRsa(2048), digest: '-md5' }),
    status: 400,
    says: /SHA-256/,
  },
  {
    name: 'SHA-1 with ECDSA',
    body: () => opensslCsr({ key: opensslEc('P-256'), digest: '-sha1' }),
    status: 400,
    says: /SHA-256/,
  },
  {
    name: 'SHA-1 that says it is SHA-256',
    body: built({ names: okNames, key: keyOf(goodRsa, 'sha1', signatureOid.sha256WithRsa) }),
    status: 400,
  },
  // The signature holds, but no verifier that goes by the algorithm's name would say so.
  {
    name: 'ECDSA that says it is RSA',
    body: built({
      names: okNames,
      key: { ...ecKey(), algorithm: sequence(oid(signatureOid.sha256WithRsa), nullValue()) },
    }),
    status: 400,
  },
  {
    name: 'RSA that says it is ECDSA',
    body: built({ names: okNames, key: { ...keyOf(goodRsa), algorithm: sequence(oid(signatureOid.sha256WithEcdsa)) } }),
    status: 400,
  },
  {
    name: 'an algorithm without a name',
    body: built({ names: okNames, key: { ...ecKey(), algorithm: sequence(oid('1.2.3.4')) } }),
    status: 400,
  },
])

function primeModulus(): bigint {
  return generatePrimeSync(2048, { bigint: true })
}

function evenModulusKey(): RequestKey {
  const q = generatePrimeSync(2047, { bigint: true })
  return rsaKey({ modulus: 2n * q, phi: q - 1n })
}

function smallFactorKey(factor: bigint): RequestKey {
  // The two top bits of a generated prime are set, so the product has exactly 2048 bits for 2/3 ≤ factor/2^n.
  const q = generatePrimeSync(2048 - factor.toString(2).length, { bigint: true })
  return rsaKey({ modulus: factor * q, phi: (factor - 1n) * (q - 1n) })
}

function nextPrime(from: bigint): bigint {
  let candidate = from | 1n
  while (!checkPrimeSync(candidate)) candidate += 2n
  return candidate
}

/** Two primes of 1024 bits whose difference is about the given one: Fermat finds them in difference²/(8·√n) rounds. */
function closePrimesKey(difference: bigint): RequestKey {
  const p = generatePrimeSync(1024, { bigint: true })
  const q = nextPrime(p - difference - 2000n)
  return rsaKey({ modulus: p * q, phi: (p - 1n) * (q - 1n) })
}

/** As the broken library did it: p = k·M + (65537^a mod M), M the product of the first 126 primes (Nemec et al., §2). */
function rocaKey(): RequestKey {
  const primes: bigint[] = []
  for (let n = 2n; primes.length < 126; n++) if (primes.every((prime) => n % prime !== 0n)) primes.push(n)
  const primorial = primes.reduce((product, prime) => product * prime, 1n)
  // Both primes in the upper quarter of 1024 bits, so that the modulus has 2048.
  const leastFactor = (3n << 1022n) / primorial + 1n
  const makePrime = (): bigint => {
    for (;;) {
      let residue = 1n
      for (let i = randomInt(1, 2 ** 12); i > 0; i--) residue = (residue * 65537n) % primorial
      for (let i = 0; i < 400; i++) {
        const factor = leastFactor + BigInt(randomBytes(5).readUIntBE(0, 5))
        const candidate = factor * primorial + residue
        if (checkPrimeSync(candidate)) return candidate
      }
    }
  }
  const [p, q] = [makePrime(), makePrime()]
  return rsaKey({ modulus: p * q, phi: (p - 1n) * (q - 1n) })
}

function goodRsaNumbers(): { modulus: bigint; phi: bigint } {
  const jwk = goodRsa.export({ format: 'jwk' })
  const numberOf = (text = '') => BigInt(`0x${Buffer.from(text, 'base64url').toString('hex')}`)
  return { modulus: numberOf(jwk.n), phi: (numberOf(jwk.p) - 1n) * (numberOf(jwk.q) - 1n) }
}

const keyRow = (name: string, makeKey: () => RequestKey, says: RegExp): Row => ({
  name,
  body: () => buildCsrPem({ names: okNames, key: makeKey() }),
  status: 400,
  says,
})

group('20: RSA numbers', [
  { name: '1024 bits, by openssl', body: () => opensslCsr({ key: opensslRsa(1024) }), status: 400, says: /2048/ },
  { name: '2047 bits, by openssl', body: () => opensslCsr({ key: opensslRsa(2047) }), status: 400, says: /2048/ },
  keyRow('16384 bits', () => rsaKey({ modulus: (1n << 16383n) | 12345n }), /bits/),
  {
    name: 'e = 3, by openssl',
    body: () => opensslCsr({ key: opensslRsa(2048, '-pkeyopt', 'rsa_keygen_pubexp:3') }),
    status: 400,
    says: /exponent/,
  },
  keyRow('e = 1', () => rsaKey({ ...goodRsaNumbers(), exponent: 1n }), /exponent|public key/),
  keyRow('e even', () => rsaKey({ ...goodRsaNumbers(), exponent: 65538n }), /exponent|public key/),
  keyRow('e = 0', () => rsaKey({ ...goodRsaNumbers(), exponent: 0n }), /exponent|public key/),
  keyRow('e of 300 bits', () => rsaKey({ ...goodRsaNumbers(), exponent: (1n << 299n) | 1n }), /exponent|public key/),
  keyRow('an even modulus', evenModulusKey, /modulus|public key/),
  keyRow('a prime modulus', () => rsaKeyOfPrime(), /prime/),
  keyRow('a modulus with a small factor', () => smallFactorKey(751n), /factor/),
  keyRow('modulus 0', () => rsaKey({ modulus: 0n }), /RSA|public key/),
  keyRow('modulus 1', () => rsaKey({ modulus: 1n }), /RSA|public key/),
])

function rsaKeyOfPrime(): RequestKey {
  const modulus = primeModulus()
  return rsaKey({ modulus, phi: modulus - 1n })
}

group('21: RSA keys that somebody can break', [
  keyRow('ROCA', rocaKey, /ROCA/),
  keyRow('primes next to each other', () => closePrimesKey(0n), /close|Fermat/),
  // The Baseline Requirements ask for 100 rounds; these fall in about 50.
  keyRow('primes that 100 rounds of Fermat find', () => closePrimesKey(20n << 512n), /close|Fermat/),
])

const ecPublicKeyOid = '1.2.840.10045.2.1'
const p256Oid = '1.2.840.10045.3.1.7'
/** A P-256 key with this point: the curve is right, the point need not be. */
const ecSpki = (point: Uint8Array) => sequence(sequence(oid(ecPublicKeyOid), oid(p256Oid)), bitString(point))
const goodPoint = Buffer.from(ecKey().spki).subarray(-65)
const pointKey = (point: Uint8Array): RequestKey => ({ ...ecKey(), spki: ecSpki(point) })
const yParity = (goodPoint[64] ?? 0) & 1
const compressedPoint = Buffer.concat([Buffer.of(0x02 | yParity), goodPoint.subarray(1, 33)])

/** The good RSA key, spelt in ways that are not DER. */
function strangeRsaBits(): [string, Buffer][] {
  const [modulus, exponent] = [integer(goodRsaNumbers().modulus), integer(65537n)]
  const longModulus = der(0x02, Buffer.of(0), modulus.subarray(4))
  const key = sequence(modulus, exponent)
  return [
    ['octets after the key', Buffer.concat([key, nullValue()])],
    ['a third number', sequence(modulus, exponent, integer(3n))],
    ['a modulus that is not minimal', sequence(longModulus, exponent)],
    ['an exponent that is not minimal', sequence(modulus, der(0x02, Buffer.of(0, 1, 0, 1)))],
    ['a length that is not minimal', Buffer.concat([Buffer.of(0x30, 0x83, 0), key.subarray(2)])],
  ]
}

function strangeRsaKey(bits: Buffer): RequestKey {
  return { ...keyOf(goodRsa), spki: sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), bitString(bits)) }
}

group('22: other keys', [
  { name: 'P-521, by openssl', body: () => opensslCsr({ key: opensslEc('P-521') }), status: 400, says: /P-256/ },
  { name: 'P-224, by openssl', body: () => opensslCsr({ key: opensslEc('P-224') }), status: 400, says: /P-256/ },
  {
    name: 'secp256k1, by openssl',
    body: () => opensslCsr({ key: opensslEc('secp256k1') }),
    status: 400,
    says: /P-256/,
  },
  {
    name: 'brainpoolP256r1, by openssl',
    body: () => opensslCsr({ key: opensslEc('brainpoolP256r1') }),
    status: 400,
    says: /P-256/,
  },
  {
    name: 'Ed25519, by openssl',
    body: () => opensslCsr({ key: ['-algorithm', 'ED25519'] }),
    status: 400,
    says: /P-256/,
  },
  { name: 'Ed448, by openssl', body: () => opensslCsr({ key: ['-algorithm', 'ED448'] }), status: 400, says: /P-256/ },
  {
    name: 'DSA, by openssl',
    body: () =>
      opensslCsr({
        parameters: ['-algorithm', 'DSA', '-pkeyopt', 'dsa_paramgen_bits:1024'],
        key: ['-paramfile', 'parameters.pem'],
      }),
    status: 400,
    says: /P-256/,
  },
  {
    name: 'RSA-PSS only, by openssl',
    body: () => opensslCsr({ key: ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'] }),
    status: 400,
  },
  {
    name: 'P-256 with explicit parameters, by openssl',
    body: () => opensslCsr({ key: opensslEc('P-256', '-pkeyopt', 'ec_param_enc:explicit') }),
    status: 400,
    says: /curve|key/,
  },
  keyRow(
    'a point that is not on the curve',
    () => pointKey(Buffer.concat([goodPoint.subarray(0, 64), Buffer.of((goodPoint[64] ?? 0) ^ 1)])),
    /key/,
  ),
  keyRow('the point at infinity', () => pointKey(Buffer.of(0)), /key/),
  keyRow('the point (0, 0)', () => pointKey(Buffer.concat([Buffer.of(4), Buffer.alloc(64)])), /key/),
  keyRow('coordinates beyond the field', () => pointKey(Buffer.concat([Buffer.of(4), Buffer.alloc(64, 0xff)])), /key/),
  keyRow('a point that is cut off', () => pointKey(goodPoint.subarray(0, 40)), /key/),
  keyRow('no point', () => pointKey(Buffer.alloc(0)), /key/),
  keyRow(
    'an unknown kind of key',
    () => ({ ...ecKey(), spki: sequence(sequence(oid('1.2.3.4.5')), bitString(Buffer.of(1))) }),
    /key/,
  ),
  // OpenSSL reads these and writes them back differently: the certificate would be for "another" key.
  ...strangeRsaBits().map(([name, bits]) => keyRow(`RSA with ${name}`, () => strangeRsaKey(bits), /key/)),
  // RFC 5480 §2.2: MUST NOT be used.
  keyRow(
    'a point in hybrid form',
    () => pointKey(Buffer.concat([Buffer.of(6 | yParity), goodPoint.subarray(1)])),
    /key/,
  ),
  // Whatever is thought of these, it is the caller's matter and not an error of the server.
  { name: 'a compressed point', body: built({ names: okNames, key: pointKey(compressedPoint) }), status: [200, 400] },
  {
    name: 'RSA without its NULL',
    body: () =>
      buildCsrPem({
        names: okNames,
        key: {
          ...keyOf(goodRsa),
          spki: sequence(
            sequence(oid('1.2.840.113549.1.1.1')),
            bitString(sequence(integer(goodRsaNumbers().modulus), integer(65537n))),
          ),
        },
      }),
    status: [200, 400],
  },
])

// names -------------------------------------------------------------------------------------------

const longLabel = 'a'.repeat(64)
const name253 = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61 - '.example.org'.length)}.example.org`
const longCommonName = `${'a'.repeat(60)}.example.org`
const cnRow = (
  name: string,
  commonNames: CsrDraft['commonNames'],
  status: Row['status'],
  more: Partial<Row> = {},
): Row => ({
  name,
  body: built({ ...(commonNames === undefined ? {} : { commonNames }) }),
  status,
  ...more,
})

group('24 to 27: common names', [
  { name: '24: no names at all', body: built({}), status: 400, says: /name/ },
  { name: '24: no names, by openssl', body: () => makeCsr({}), status: 400, says: /name/ },
  {
    name: '24: alternative names without any',
    body: built({ extensions: [extension('subjectAltName', sequence())] }),
    status: 400,
  },
  {
    name: '24: other attributes of the subject only',
    body: () => opensslCsr({ key: opensslEc('P-256'), subject: '/O=Example/C=DE', extensions: [] }),
    status: 400,
  },
  cnRow('25: common name only', ['www.example.org'], 200, { names: dns('www.example.org') }),
  {
    name: '25: common name only, by openssl',
    body: () => makeCsr({ commonName: 'www.example.org' }),
    status: 200,
    names: dns('www.example.org'),
  },
  cnRow('25: common name of another host', ['www.example.com'], 403, { says: /www\.example\.com/ }),
  {
    name: '26: common name beside the alternative names',
    body: built({ commonNames: ['example.org'], names: okNames }),
    status: 200,
    names: dns('example.org', ...okNames),
  },
  {
    name: '26: common name of another host beside own names',
    body: built({ commonNames: ['www.example.com'], names: okNames }),
    status: 403,
    says: /^www\.example\.com:/,
  },
  {
    name: '26: common name among the names, in other case',
    body: built({ commonNames: ['WWW.Example.ORG'], names: okNames }),
    status: 200,
    names: dns(...okNames),
  },
  cnRow('27: IPv4 address', ['192.0.2.1'], 400),
  cnRow('27: IPv6 address', ['2001:db8::1'], 400),
  {
    name: '27: IP address that is an alternative name, too',
    body: built({ commonNames: ['192.0.2.1'], names: [ipName(192, 0, 2, 1)] }),
    status: 400,
  },
  cnRow('27: e-mail address', ['root@example.org'], 400),
  cnRow('27: a title', ['My Server'], 400),
  cnRow('27: a URL', ['https://www.example.org/'], 400),
  cnRow('27: a port', ['www.example.org:443'], 400),
  cnRow('27: empty', [''], 400),
  {
    name: '27: empty, beside a good name',
    body: built({ commonNames: [''], names: okNames }),
    status: [200, 400],
    names: dns(...okNames),
  },
  cnRow('27: two of them', ['www.example.org', 'example.org'], 400),
  cnRow('27: a number for a text', [integer(12345n)], [400, 403]),
  cnRow('27: octets for a text', [octetString('www.example.org')], [400, 403]),
  {
    name: '27: 72 characters, among the names',
    body: built({ commonNames: [longCommonName], names: [longCommonName] }),
    status: 200,
    names: dns(longCommonName),
    check: (leaf) => assert.equal(leaf.subject ?? '', ''),
  },
  cnRow('27: PrintableString', [der(0x13, 'www.example.org')], 200, { names: dns('www.example.org') }),
  cnRow('27: BMPString', [der(0x1e, Buffer.from('www.example.org', 'utf16le').swap16())], 200, {
    names: dns('www.example.org'),
  }),
  cnRow('27: BMPString of another host', [der(0x1e, Buffer.from('www.example.com', 'utf16le').swap16())], 403),
])

const sanRow = (name: string, ...values: string[]): Row => ({
  name,
  body: withExtension(`subjectAltName=${values.join(',')}`),
  status: 400,
})

group('28: alternative names of other kinds', [
  sanRow('e-mail, by openssl', 'DNS:www.example.org', 'email:root@example.org'),
  sanRow('URI, by openssl', 'DNS:www.example.org', 'URI:https://www.example.org/'),
  sanRow('otherName, by openssl', 'DNS:www.example.org', 'otherName:1.2.3.4;UTF8:www.example.org'),
  sanRow('registered ID, by openssl', 'DNS:www.example.org', 'RID:1.2.3.4'),
  {
    name: 'directory name',
    body: built({ names: ['www.example.org', directoryName('www.example.org')] }),
    status: 400,
  },
  {
    name: 'SRV',
    body: built({ names: ['www.example.org', otherName('1.3.6.1.5.5.7.8.7', der(0x16, '_https.www.example.org'))] }),
    status: 400,
  },
  {
    name: 'UPN',
    body: built({ names: [otherName('1.3.6.1.4.1.311.20.2.3', utf8String('admin@example.org'))] }),
    status: 400,
  },
  { name: 'e-mail only', body: built({ names: [emailName('root@example.org')] }), status: 400 },
  { name: 'URI only', body: built({ names: [uriName('https://www.example.org/')] }), status: 400 },
  { name: 'registered ID only', body: built({ names: [registeredIdName('1.2.3.4')] }), status: 400 },
  { name: 'x400Address', body: built({ names: ['www.example.org', der(0xa3, sequence())] }), status: [400, 415] },
  {
    name: 'ediPartyName',
    body: built({ names: ['www.example.org', der(0xa5, der(0xa1, utf8String('x')))] }),
    status: 400,
  },
  {
    name: 'a kind that does not exist',
    body: built({ names: ['www.example.org', der(0x89, 'www.example.org')] }),
    status: 400,
  },
])

const mapped = [...Array<number>(10).fill(0), 0xff, 0xff]
const ipRow = (name: string, octets: readonly number[], status: Row['status'], more: Partial<Row> = {}): Row => ({
  name,
  body: built({ names: ['www.example.org', ipName(...octets)] }),
  status,
  ...more,
})

group('29: addresses', [
  ipRow('granted', [192, 0, 2, 7], 200, { names: ['DNS:www.example.org', 'IP Address:192.0.2.7'] }),
  {
    name: 'granted, by openssl',
    body: () => makeCsr({ addresses: ['192.0.2.7', '2001:db8::7'] }),
    status: 200,
    names: ['IP Address:192.0.2.7', 'IP Address:2001:DB8:0:0:0:0:0:7'],
  },
  ipRow('not granted', [198, 51, 100, 7], 403, { says: /198\.51\.100\.7/ }),
  ipRow('127.0.0.1', [127, 0, 0, 1], 403),
  ipRow('0.0.0.0', [0, 0, 0, 0], 403),
  ipRow('::1', [...Array<number>(15).fill(0), 1], 403),
  ipRow('granted IPv4 mapped into IPv6', [...mapped, 192, 0, 2, 7], 403),
  ipRow('granted IPv4 in its old IPv6 clothes', [...Array<number>(12).fill(0), 192, 0, 2, 7], 403),
  ipRow('5 octets', [192, 0, 2, 7, 1], 400),
  ipRow('8 octets, an address and a mask', [192, 0, 2, 0, 255, 255, 255, 0], 400),
  ipRow('15 octets', Array<number>(15).fill(1), 400),
  ipRow('32 octets', Array<number>(32).fill(1), 400),
  ipRow('no octets', [], 400),
  { name: 'an address as a DNS name', body: () => good('192.0.2.7'), status: 400 },
  { name: 'an IPv6 address as a DNS name', body: () => good('2001:db8::7'), status: 400 },
])

const ownNames = Array.from({ length: 99 }, (_, i) => `h${i}.example.org`)
const tellsNothing = (text: RegExp) => new RegExp(`^(?!.*(secret|another|own|${ownNames[0]}))${text.source}`)

group('30 to 32: names of others', [
  {
    name: '30: of another host',
    body: () => good('db.secret.example.com'),
    status: 403,
    says: /^db\.secret\.example\.com: (?!.*(another|\*))/,
  },
  {
    name: '30: of nobody',
    body: () => good('www.example.com'),
    status: 403,
    says: tellsNothing(/www\.example\.com: /),
  },
  {
    name: '30: one among 99 own',
    body: () => good(...ownNames, 'www.example.com'),
    status: 403,
    says: tellsNothing(/www\.example\.com: /),
  },
  {
    name: '30: from two blocks at once',
    body: () => good('www.example.org', 'a.b.deep.example.net'),
    status: 403,
    says: /no single/,
  },
  {
    name: '30: an address of others',
    body: built({ names: ['www.example.org', ipName(203, 0, 113, 1)] }),
    status: 403,
    says: /^203\.0\.113\.1: /,
  },
  { name: '30: a suffix without its dot', body: () => good('badexample.org'), status: 403 },
  { name: '30: a longer suffix', body: () => good('www.example.org.example.com'), status: 403 },
  { name: '31: wildcard of a pattern for single names', body: () => good('*.example.org'), status: 403 },
  { name: '31: wildcard under the pattern of any depth', body: () => good('*.deep.example.net'), status: 403 },
  {
    name: '31: wildcard in a block that has no wildcard pattern',
    body: () => good('*.plain.example.net'),
    status: 403,
  },
  {
    name: '31: wildcard that is granted',
    body: () => good('*.wild.example.net', 'www.wild.example.net'),
    status: 200,
    names: dns('*.wild.example.net', 'www.wild.example.net'),
  },
  { name: '31: wildcard one level below what is granted', body: () => good('*.www.wild.example.net'), status: 403 },
  { name: '31: wildcard one level above what is granted', body: () => good('*.example.net'), status: 403 },
  { name: '32: two labels where the pattern has one', body: () => good('a.b.example.org'), status: 403 },
  {
    name: '32: as deep as the pattern says',
    body: () => good('a.b.c.deep.example.net'),
    status: 200,
    names: dns('a.b.c.deep.example.net'),
  },
])

const malformedNames: readonly [string, string | Uint8Array][] = [
  ['33: wildcard in the middle', 'www.*.org'],
  ['33: nothing but a wildcard', '*'],
  ['33: wildcard and one label', '*.org'],
  ['33: wildcard within a label', 'f*o.example.org'],
  ['33: wildcard at the end of a label', 'www*.example.org'],
  ['33: two wildcards', '*.*.example.org'],
  ['33: two wildcards and one label', '*.*.x'],
  ['33: double wildcard', '**.example.org'],
  ['33: wildcard without a dot', '*example.org'],
  ['34: trailing dot', 'www.example.org.'],
  ['34: nothing but a dot', '.'],
  ['35: U-label in UTF-8', 'bücher.example.org'],
  ['35: U-label in Latin-1', Buffer.from('bücher.example.org', 'latin1')],
  ['35: A-label that decodes to nothing', 'xn--a.example.org'],
  ['35: A-label without content', 'xn--.example.org'],
  ['35: A-label that says ASCII', 'xn--www-.example.org'],
  ['35: reserved label', 'ab--cd.example.org'],
  ['36: underscore', '_x.example.org'],
  ['36: underscore within', 'a_b.example.org'],
  ['36: leading hyphen', '-a.example.org'],
  ['36: trailing hyphen', 'a-.example.org'],
  ['36: empty label', 'a..example.org'],
  ['36: leading dot', '.example.org'],
  ['36: space', 'a b.example.org'],
  ['36: space at the end', 'www.example.org '],
  ['36: empty', ''],
  ['36: slash', 'www.example.org/'],
  ['36: at sign', 'root@example.org'],
  ['36: colon', 'www.example.org:443'],
  ['36: percent', '%77ww.example.org'],
  ['36: brackets', '[::1]'],
  ['37: NUL', 'www.example.org\0.evil.example.com'],
  ['37: NUL at the end', 'www.example.org\0'],
  ['37: CR LF', 'www.example.org\r\n{"level":"info","msg":"forged"}'],
  ['37: LF', 'www.example.org\nforged'],
  ['37: ANSI escape', '\x1b[31mwww.example.org\x1b[0m'],
  ['37: C1 escape', '\u009b31mwww.example.org'],
  ['37: right-to-left override', 'www.\u202egro.elpmaxe'],
  ['37: line separator', 'www.example.org\u2028forged'],
  ['37: zero width space', 'www.exa\u200bmple.org'],
  ['37: full-width letters', 'ｗｗｗ.example.org'],
  ['37: ideographic full stop', 'www。example.org'],
  ['37: invalid UTF-8', Buffer.concat([Buffer.of(0xc3, 0x28), Buffer.from('.example.org')])],
  // U+212A and U+017F become k and s in lower or upper case.
  ['35: a letter whose lower case is ASCII', '\u212aelvin.example.org'],
  ['35: a letter whose upper case is ASCII', '\u017ften.example.org'],
  ['38: label of 64', `${longLabel}.example.org`],
  ['38: 254 characters', `a${name253}`],
  ['38: 11 labels', 'a.b.c.d.e.f.g.h.i.example.org'],
  ['38: 10,000 characters', `${'a.'.repeat(5000)}example.org`],
]

group(
  '33 to 38: names that are none',
  malformedNames
    .flatMap(([name, value]): Row[] => {
      const octets = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
      return [
        {
          name: `${name}, as alternative name`,
          body: built({ names: ['www.example.org', dnsName(octets)] }),
          status: 400,
        },
        {
          name: `${name}, as common name`,
          body: built({ commonNames: [utf8String(octets)], names: ['www.example.org'] }),
          status: 400,
        },
      ]
    })
    .filter(({ name }) => name !== '36: empty, as common name'),
)

group('34 to 40: names that are fine', [
  { name: '34: upper case', body: () => good('WWW.EXAMPLE.ORG'), status: 200, names: dns('www.example.org') },
  {
    name: '35: A-label',
    body: () => good('xn--bcher-kva.example.org'),
    status: 200,
    names: dns('xn--bcher-kva.example.org'),
  },
  {
    name: '35: A-label in upper case',
    body: () => good('XN--BCHER-KVA.example.org'),
    status: 200,
    names: dns('xn--bcher-kva.example.org'),
  },
  { name: '38: 10 labels', body: () => good('a.b.c.d.e.f.g.deep.example.net'), status: 200 },
  { name: '38: label of 63', body: () => good(`${'a'.repeat(63)}.example.org`), status: 200 },
  {
    name: '40: the same name twice',
    body: () => good('www.example.org', 'www.example.org'),
    status: 200,
    names: dns('www.example.org'),
  },
  {
    name: '40: the same name in other cases',
    body: () => good('www.example.org', 'WWW.example.org', 'www.Example.Org'),
    status: 200,
    names: dns('www.example.org'),
  },
  {
    name: '40: the same name 150 times',
    body: () => good(...Array<string>(150).fill('www.example.org')),
    status: 200,
    names: dns('www.example.org'),
  },
  {
    name: '40: the same address twice',
    body: built({ names: [ipName(192, 0, 2, 7), ipName(192, 0, 2, 7)] }),
    status: 200,
    names: ['IP Address:192.0.2.7'],
  },
])

const numbered = (count: number, suffix: string) => Array.from({ length: count }, (_, i) => `n${i}.${suffix}`)

group('39: many names', [
  { name: '100', body: () => good(...numbered(100, 'example.org')), status: 200 },
  { name: '101', body: () => good(...numbered(101, 'example.org')), status: 400, says: /\b100\b/ },
  {
    name: '100 and a common name',
    body: built({ commonNames: ['example.org'], names: numbered(100, 'example.org') }),
    status: 400,
    says: /\b100\b/,
  },
  { name: '10,000', body: () => good(...numbered(10_000, 'example.org')), status: 400, says: /\b100\b/ },
  { name: '30,000', body: () => good(...numbered(30_000, 'a.org')), status: 400 },
  // The block's own limit is a matter of what this caller may have.
  {
    name: '26 where the block says 25',
    body: () => good(...numbered(26, 'few.example.net')),
    status: 403,
    says: /max-names/,
  },
  { name: '25 where the block says 25', body: () => good(...numbered(25, 'few.example.net')), status: 200 },
  {
    name: '100 foreign ones: the answer stays short',
    body: () => good(...numbered(100, `${'long-'.repeat(10)}name.example.com`)),
    status: 403,
  },
])

group(
  "41: names that are nobody's",
  ['localhost', 'com', 'org', 'local', 'internal', 'arpa', 'printer'].map((name) => ({
    name,
    body: () => good(name),
    status: [400, 403],
  })),
)

// wishes ------------------------------------------------------------------------------------------

const keyCertSign = der(0x03, Buffer.of(2, 0x04))
const codeSigning = sequence(oid('1.3.6.1.5.5.7.3.3'))
const caTrue = sequence(der(0x01, Buffer.of(0xff)))

function extensionText(leaf: X509Certificate): string {
  return execFileSync('openssl', ['x509', '-noout', '-text'], { input: leaf.toString(), encoding: 'utf8' })
}

const ignored = (name: string, draft: CsrDraft, absent: RegExp): Row => ({
  name,
  body: built(draft),
  status: 200,
  names: dns(...okNames),
  check: (leaf) => {
    assert.equal(leaf.ca, false)
    assert.doesNotMatch(extensionText(leaf), absent)
  },
})
const evilExtensions = subjectAltNames(dnsName('www.example.com'))

group('42 and 43: wishes', [
  {
    name: '42: two lists of alternative names',
    body: built({ names: okNames, extensions: [subjectAltNames(dnsName('example.org'))] }),
    status: 400,
  },
  {
    name: '42: the second list is of another host',
    body: built({ names: okNames, extensions: [evilExtensions] }),
    status: 400,
  },
  {
    name: '42: two extension requests',
    body: built({
      attributes: [extensionRequest(subjectAltNames(dnsName('www.example.org'))), extensionRequest(evilExtensions)],
    }),
    status: 400,
  },
  {
    name: '42: an extension request with two values',
    body: built({
      attributes: [
        attribute(
          attributeOid.extensionRequest,
          sequence(subjectAltNames(dnsName('www.example.org'))),
          sequence(evilExtensions),
        ),
      ],
    }),
    status: 400,
  },
  {
    name: '42: an extension request without value',
    body: built({ commonNames: okNames, attributes: [attribute(attributeOid.extensionRequest)] }),
    status: 400,
  },
  {
    name: '42: CA:TRUE, by openssl',
    body: withExtension('subjectAltName=DNS:www.example.org', 'basicConstraints=critical,CA:TRUE'),
    status: 400,
    says: /CA/,
  },
  {
    name: '42: CA:TRUE, not critical',
    body: built({ names: okNames, extensions: [extension('basicConstraints', caTrue)] }),
    status: 400,
    says: /CA/,
  },
  {
    name: '42: CA:TRUE in BER',
    body: built({ names: okNames, extensions: [extension('basicConstraints', sequence(der(0x01, Buffer.of(1))))] }),
    status: 400,
  },
  {
    name: '42: CA:TRUE after CA:FALSE',
    body: built({
      names: okNames,
      extensions: [extension('basicConstraints', sequence()), extension('basicConstraints', caTrue)],
    }),
    status: 400,
  },
  {
    name: '42: CA:FALSE, by openssl',
    body: withExtension('subjectAltName=DNS:www.example.org', 'basicConstraints=CA:FALSE'),
    status: 200,
    names: dns(...okNames),
  },
  ignored('42: keyCertSign', { names: okNames, extensions: [extension('keyUsage', keyCertSign)] }, /Certificate Sign/),
  ignored(
    '42: code signing',
    { names: okNames, extensions: [extension('extendedKeyUsage', codeSigning)] },
    /Code Signing/,
  ),
  ignored(
    '42: CT poison',
    { names: okNames, extensions: [extension('ctPoison', nullValue(), true)] },
    /CT Precertificate|11129\.2\.4\.3/,
  ),
  ignored(
    '42: timestamps of CT',
    { names: okNames, extensions: [extension('signedCertificateTimestamps', octetString(''))] },
    /SCTs|11129\.2\.4\.2/,
  ),
  ignored(
    '42: challenge password',
    {
      attributes: [
        extensionRequest(subjectAltNames(dnsName('www.example.org'))),
        attribute(attributeOid.challengePassword, utf8String('hunter2')),
      ],
    },
    /hunter2/,
  ),
  ignored(
    "42: names of another host in Microsoft's attribute",
    {
      attributes: [
        extensionRequest(subjectAltNames(dnsName('www.example.org'))),
        attribute(attributeOid.microsoftExtensions, sequence(evilExtensions)),
      ],
    },
    /example\.com/,
  ),
  {
    name: '42: other attributes of the subject, by openssl',
    body: () => opensslCsr({ key: opensslEc('P-256'), subject: '/O=Example Inc/emailAddress=root@example.com' }),
    status: 200,
    names: dns(...okNames),
    check: (leaf) => assert.doesNotMatch(extensionText(leaf), /Example Inc|root@/),
  },
  {
    name: '43: must-staple, by openssl',
    body: withExtension('subjectAltName=DNS:www.example.org', 'tlsfeature=status_request'),
    status: 400,
    says: /staple/i,
  },
])

// what remains ------------------------------------------------------------------------------------

test('23: the account key as the key of a request', async (t) => {
  if (requirePeer(t, 'pebble') === undefined || requirePeer(t, 'pebble-challtestsrv') === undefined) return
  const httpPort = await freePort()
  await using pebble = await startPebble({ httpPort })
  using folder = makeTempFolder('account')
  await using server = await startAcmems(`[account]
acme-server = ${pebble.directoryUrl}
accept-terms-of-service = yes
ca-file = ${pebble.caFile}
dir = ${folder.path}
[verification "http"]
type = http01
listener = 127.0.0.1:${httpPort}
[auth "host"]
ip = 127.0.0.1
domain = *.example.test
`)
  const first = await postCsr(server.signUrl, makeCsr({ names: ['first.example.test'] }))
  assert.equal(first.status, 200, first.text + server.log())
  const accountKey = createPrivateKey(readFileSync(join(folder.path, 'account.pem')))
  const reply = await postCsr(server.signUrl, buildCsrPem({ names: ['www.example.test'], key: keyOf(accountKey) }))
  assert.equal(reply.status, 400, reply.text)
  assertPlainLine(reply.text, reply.headers.get('content-type'))
  assert.match(reply.text, /account/)
})

test('23: a key that another host uses already is no error', async () => {
  for (const name of ['a.example.org', 'b.example.org']) {
    const reply = await postCsr(acmems.signUrl, buildCsrPem({ names: [name] }))
    assert.equal(reply.status, 200, reply.text)
  }
})

// Last: it looks at what all the rows before have left.
test('afterwards the server is well, and its log has neither keys nor forged lines', async () => {
  assert.ok(!acmems.hasEnded(), acmems.log())
  const reply = await postCsr(acmems.signUrl, makeCsr({ names: ['good.example.org'] }))
  assert.equal(reply.status, 200, reply.text)
  const log = acmems.log()
  const lines = log.split('\n').filter(Boolean)
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    parsed.filter(({ level, status, msg }) => level === 'error' || Number(status) >= 500 || msg === 'forged'),
    [],
  )
  assert.doesNotMatch(log, /[^\n\x20-\x7e\u00a0-\u1fff]/, 'nothing that a terminal would obey')
  assert.deepEqual(
    parsed.filter((line) => JSON.stringify(line).includes('"stack"')).map(({ reason, cause }) => ({ reason, cause })),
    [],
    'what a caller sends is foreseen, so it has no stack in the log',
  )
  for (const pem of leakedPems) {
    for (const line of pem.split('\n').filter((text) => /^[A-Za-z0-9+/=]{20,}$/.test(text)))
      assert.ok(!log.includes(line), 'a private key is never logged')
  }
  assert.doesNotMatch(log, /hunter2/)
})
