// RFC 9421's own examples, structured fields to the letter, digests, keys of every form.
import assert from 'node:assert/strict'
import { createSecretKey, generateKeyPairSync, hash, sign } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { authoritiesOf, parseAuthority } from './authority.ts'
import { parseContentDigest } from './content-digest.ts'
import { acceptSignature, readSignature, type SignedRequest } from './request-signature.ts'
import { findSigner } from './signature-algorithm.ts'
import { parsePublicKey, parseSecret, thumbprintOf } from './signing-key.ts'
import { formatInnerList, type InnerList, isInnerList, parseDictionary } from './structured-field.ts'

// RFC 9421 appendix B ----------------------------------------------------------------------------

const ed25519Pem =
  '-----BEGIN PUBLIC KEY-----MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=-----END PUBLIC KEY-----'
const ed25519 = { keyId: 'test-key-ed25519', thumbprint: '', key: parsePublicKey(ed25519Pem) }
const sharedSecret = {
  keyId: 'test-shared-secret',
  thumbprint: '',
  key: createSecretKey(
    'uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==',
    'base64',
  ),
}
const digest512 = 'sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:'

test('B.2.6: Ed25519', () => {
  const base = [
    '"date": Tue, 20 Apr 2021 02:07:55 GMT',
    '"@method": POST',
    '"@path": /foo',
    '"@authority": example.com',
    '"content-type": application/json',
    '"content-length": 18',
    '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"',
  ].join('\n')
  const signature = Buffer.from(
    'wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==',
    'base64',
  )
  for (const alg of [undefined, 'ed25519'])
    assert.equal(findSigner([sharedSecret, ed25519], alg, Buffer.from(base), signature), ed25519)
  assert.equal(findSigner([ed25519], 'ecdsa-p256-sha256', Buffer.from(base), signature), undefined)
  assert.equal(findSigner([ed25519], undefined, Buffer.from(`${base} `), signature), undefined)
  assert.equal(findSigner([], undefined, Buffer.from(base), signature), undefined)
})

test('B.2.5: HMAC', () => {
  const base = [
    '"date": Tue, 20 Apr 2021 02:07:55 GMT',
    '"@authority": example.com',
    '"content-type": application/json',
    '"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
  ].join('\n')
  const signature = Buffer.from('pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=', 'base64')
  assert.equal(findSigner([ed25519, sharedSecret], undefined, Buffer.from(base), signature), sharedSecret)
})

const request: SignedRequest = {
  method: 'POST',
  path: '/foo?param=Value&Pet=dog',
  headers: new Map([
    ['host', ['example.com']],
    ['date', ['Tue, 20 Apr 2021 02:07:55 GMT']],
    ['content-type', ['application/json']],
    ['content-digest', [digest512]],
    ['content-length', ['18']],
    [
      'signature-input',
      [
        'sig-b2=("@method" "@authority" "@path" "@query" "content-digest" "date");created=1618884473;nonce="0123456789abcdef";keyid="k"',
      ],
    ],
    ['signature', ['sig-b2=:AAAA:']],
  ]),
}

test('the base of a request with a query', () => {
  const { baseFor, contentDigest, keyId, createdAtMs, nonce } = readSignature(request)
  assert.equal(
    baseFor('example.com').toString(),
    `"@method": POST
"@authority": example.com
"@path": /foo
"@query": ?param=Value&Pet=dog
"content-digest": ${digest512}
"date": Tue, 20 Apr 2021 02:07:55 GMT
"@signature-params": ("@method" "@authority" "@path" "@query" "content-digest" "date");created=1618884473;nonce="0123456789abcdef";keyid="k"`,
  )
  assert.deepEqual([keyId, createdAtMs, nonce], ['k', 1_618_884_473_000, '0123456789abcdef'])
  assert.ok(contentDigest?.matches(Buffer.from('{"hello": "world"}')))
  assert.ok(!contentDigest?.matches(Buffer.from('{"hello": "World"}')))
  assert.match(acceptSignature(request), /"@query" "content-digest"/)
})

test('a query must be covered; without a body no digest must; a body that should not be there needs one', () => {
  const withInput = (components: string, more: Partial<SignedRequest> = {}, headers: [string, string[]][] = []) => ({
    ...request,
    ...more,
    headers: new Map([
      ...[...request.headers].filter(([name]) => name !== 'content-length'),
      ['signature-input', [`s=(${components});created=1;nonce="0123456789abcdef";keyid="k"`]] as const,
      ['signature', ['s=:AAAA:']] as const,
      ...headers,
    ]),
  })
  const three = '"@method" "@authority" "@path"'
  assert.throws(() => readSignature(withInput(`${three} "content-digest"`)), /must cover @query/)
  assert.throws(() => readSignature(withInput(three, { path: '/' })), /must cover content-digest/)
  const get = { method: 'GET', path: '/box/a' }
  assert.equal(readSignature(withInput(three, get)).contentDigest, undefined)
  assert.match(acceptSignature(withInput(three, get)), /^sig1=\("@method" "@authority" "@path"\);/)
  for (const [name, value] of [
    ['content-length', '5'],
    ['content-length', 'x'],
    ['transfer-encoding', 'chunked'],
  ] as const)
    assert.throws(() => readSignature(withInput(three, get, [[name, [value]]])), /must cover content-digest/)
  assert.equal(readSignature(withInput(three, get, [['content-length', ['0']]])).contentDigest, undefined)
})

// structured fields ------------------------------------------------------------------------------

test('what RFC 8941 allows is read, and written in its one form', () => {
  for (const [text, written] of [
    [
      'a=("x" "y");p;q=?0;r=-5;s="\\"\\\\";t=tok/en:*;u=:AA==:',
      '("x" "y");p;q=?0;r=-5;s="\\"\\\\";t=tok/en:*;u=:AA==:',
    ],
    ['  a=(  "x"   "y"  ) ', '("x" "y")'],
    ['a=()', '()'],
    ['a=("x"; p; q=1)', '("x";p;q=1)'],
    ['a=("x";p=?1)', '("x";p)'],
    ['a=("x");created=-0', '("x");created=0'],
  ] as const) {
    const member = parseDictionary(text).get('a')
    assert.ok(isInnerList(member), text)
    assert.equal(formatInnerList(member as InnerList), written)
  }
  assert.deepEqual([...parseDictionary('a, b=1 \t,\t c;x').keys()], ['a', 'b', 'c'])
  assert.equal(parseDictionary('').size, 0)
})

test('what has another reading elsewhere is refused', () => {
  for (const text of [
    ...['a=1,', ',a=1', 'a=1,,b=2', 'a =1', 'a= 1', 'A=1', '1=1', 'a=', 'a=1 b=2', 'a=1;', 'a=1;=2', 'a=1; ;b'],
    ...['a=("x""y")', 'a=("x"', 'a="x', 'a="\\n"', 'a="\u00e9"', 'a="\t"', 'a=:A:', 'a=:AAA:', 'a=:AA=A:', 'a=:A A=:'],
    ...['a=:====:', 'a=?2', 'a=?', 'a=1.5', 'a=1.', 'a=--1', 'a=1e3', 'a=1234567890123456', 'a=@1', 'a=%"x"', "a='x'"],
    ...[
      'a=1, a=2',
      'a=1;p=1;p=2',
      'a=1\n',
      'a=(("x"))',
      'a=("x",\u00a0"y")',
      '\ta=1',

      'constructor=1, constructor=2',
    ],
    Array.from({ length: 9 }, (_, i) => `a${i}`).join(','),
    `a${Array.from({ length: 17 }, (_, i) => `;p${i}`).join('')}`,
    `a=(${'"x" '.repeat(25)})`,
    `a="${'x'.repeat(8192)}"`,
    `${'a'.repeat(65)}=1`,
  ])
    assert.throws(() => parseDictionary(text), { name: 'StructuredFieldError' }, text.slice(0, 60))
})

test('no text takes long', () => {
  const startMs = performance.now()
  for (const piece of ['(', '"\\"', '(((', ';a', ' ', ':A', '\t,', '"a" ']) {
    for (const prefix of ['', 'a=', 'a=(', 'a="', 'a=:']) {
      try {
        parseDictionary(`${prefix}${piece.repeat(8000 / piece.length)}`)
      } catch {}
    }
  }
  assert.ok(performance.now() - startMs < 2000)
})

// digests, names, keys ---------------------------------------------------------------------------

test('every digest that is understood must match', () => {
  const body = Buffer.from('x')
  const [good, bad] = [hash('sha256', body, 'base64'), hash('sha256', 'y', 'base64')]
  const good512 = hash('sha512', body, 'base64')
  for (const [text, matches] of [
    [`sha-256=:${good}:`, true],
    [`sha-256=:${bad}:`, false],
    [`sha-256=:${good}:, sha-512=:${good512}:`, true],
    [`sha-256=:${bad}:, sha-512=:${good512}:`, false],
    [`md5=:${bad}:, sha-256=:${good}:;x=1`, true],
    ['sha-256=::', false],
    [`sha-256=:${good512}:`, false],
  ] as const)
    assert.equal(parseContentDigest(text).matches(body), matches, text)
  for (const text of [
    '',
    'md5=:AAAA:',
    'sha-256',
    `sha-256="${good}"`,
    'sha-256=()',
    `SHA-256=:${good}:`,
    'sha-1=:AAAA:',
  ])
    assert.throws(() => parseContentDigest(text), { name: 'StructuredFieldError' }, text)
})

test('whose request it is', () => {
  const from = (host: string | undefined, names: string[] = []) =>
    authoritiesOf(new Map(host === undefined ? [] : [['host', [host]]]), names)
  assert.deepEqual(from('Hub.Example:443'), ['hub.example'])
  assert.deepEqual(from('hub.example:1313'), ['hub.example:1313'])
  assert.deepEqual(from('[2001:DB8::1]:1313'), ['[2001:db8::1]:1313'])
  assert.throws(() => from(undefined), /Host/)
  assert.throws(() => from('a b'), /Host/)
  assert.throws(() => authoritiesOf(new Map([['host', ['a', 'b']]]), []), /Host/)
  const names = ['hub.example', 'other.example:1313']
  assert.deepEqual(from('hub.example:1313', names), ['hub.example:1313'])
  assert.deepEqual(from('other.example:1313', names), ['other.example:1313'])
  for (const host of ['other.example', 'backend:8080', undefined]) assert.deepEqual(from(host, names), names)
  for (const text of ['', 'a/b', 'a@b', 'http://a', 'a:', 'a:123456'])
    assert.equal(parseAuthority(text), undefined, text)
})

test('public keys in every form are the same key; what cannot be used says why', () => {
  for (const [type, options] of [
    ['rsa', { modulusLength: 2048 }],
    ['rsa-pss', { modulusLength: 2048 }],
    ['ec', { namedCurve: 'P-384' }],
    ['ed25519', {}],
  ] as const) {
    const { publicKey } = generateKeyPairSync(type as 'rsa', options as { modulusLength: number })
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    for (const text of [
      pem,
      pem.replaceAll('\n', ''),
      pem.replaceAll('\n', ' '),
      `# a comment\r\n${pem.replaceAll('\n', '\r\n')}`,
    ])
      assert.equal(thumbprintOf(parsePublicKey(text)), thumbprintOf(publicKey))
    if (type === 'rsa') {
      const pkcs1 = publicKey.export({ type: 'pkcs1', format: 'pem' }).toString()
      assert.equal(thumbprintOf(parsePublicKey(pkcs1)), thumbprintOf(publicKey))
    }
  }
  const field = (...parts: Buffer[]) =>
    Buffer.concat(parts.flatMap((part) => [Buffer.from([0, 0, part.length >> 8, part.length & 255]), part])).toString(
      'base64',
    )
  const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  const jwk = p256.export({ format: 'jwk' })
  const point = Buffer.concat([
    Buffer.from([4]),
    Buffer.from(jwk.x ?? '', 'base64url'),
    Buffer.from(jwk.y ?? '', 'base64url'),
  ])
  const line = field(Buffer.from('ecdsa-sha2-nistp256'), Buffer.from('nistp256'), point)
  assert.equal(thumbprintOf(parsePublicKey(`no-pty ecdsa-sha2-nistp256 ${line} me@host`)), thumbprintOf(p256))
  for (const [text, reason] of [
    ['', /no public key/],
    ['hello', /no public key/],
    [generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), /private key/],
    [`ssh-dss ${field(Buffer.from('ssh-dss'), Buffer.alloc(9))}`, /ssh-dss/],
    [`sk ${field(Buffer.from('sk-ssh-ed25519@openssh.com'), Buffer.alloc(32))}`, /sk-ssh-ed25519@openssh\.com/],
    [line.slice(0, 60), /cut off/],
    [field(Buffer.from('ssh-ed25519'), Buffer.alloc(31)), /cannot be read/],
    [field(Buffer.from('ecdsa-sha2-nistp256'), Buffer.from('nistp256'), Buffer.alloc(65, 4)), /cannot be read/],
    [field(Buffer.from('ssh-rsa'), Buffer.from([3]), Buffer.alloc(128, 0xff)), /2048 to 8192/],
    [field(Buffer.from('ssh-rsa'), Buffer.alloc(9, 0xff), Buffer.alloc(256, 0xff)), /exponent/],
    ['x'.repeat(20_000), /too long/],
  ] as const)
    assert.throws(() => parsePublicKey(text), { name: 'RangeError', message: reason }, text.slice(0, 40))
  assert.throws(() => parseSecret('x'.repeat(31)), /32 octets/)
  assert.equal(parseSecret('x'.repeat(32)).symmetricKeySize, 32)
})

test('every signature that is none is refused, whatever its length', () => {
  const others = [
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ]
  const keys = [ed25519, sharedSecret, ...others.map(({ publicKey: key }) => ({ keyId: 'k', thumbprint: '', key }))]
  for (const length of [0, 1, 8, 31, 32, 63, 64, 70, 71, 72, 95, 96, 104, 255, 256, 257, 384, 512, 1024, 1025, 5000])
    for (const alg of [
      undefined,
      'rsa-v1_5-sha256',
      'rsa-pss-sha512',
      'ed25519',
      'ecdsa-p256-sha256',
      'ecdsa-p384-sha384',
      'hmac-sha256',
      '',
    ])
      for (const candidates of [keys, []])
        for (const octet of [0, 0x30, 0xff])
          assert.equal(findSigner(candidates, alg, Buffer.from('base'), Buffer.alloc(length, octet)), undefined)
})

test('a key tries only what is its own', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const rsa = { keyId: 'k', thumbprint: '', key: publicKey }
  const base = Buffer.from('base')
  assert.equal(findSigner([rsa], undefined, base, sign('sha256', base, privateKey)), rsa)
  assert.equal(findSigner([rsa], 'rsa-v1_5-sha256', base, sign('sha1', base, privateKey)), undefined)
  assert.equal(findSigner([rsa], 'rsa-pss-sha512', base, sign('sha256', base, privateKey)), undefined)
})

// properties -------------------------------------------------------------------------------------

const bareItem = fc.oneof(
  fc.integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 }),
  fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)), maxLength: 20 }),
  fc.boolean(),
  fc.uint8Array({ maxLength: 20 }),
)
const parameters = fc
  .dictionary(fc.stringMatching(/^[a-z*][a-z0-9_.*-]{0,9}$/), bareItem, { maxKeys: 5, noNullPrototype: true })
  .map((object) => new Map(Object.entries(object)))

test('what is written is read as the same', () => {
  const plain = { noNullPrototype: true }
  const items = fc.array(fc.record({ value: bareItem, parameters }, plain), { maxLength: 10 })
  const list = fc.record({ items, parameters }, plain)
  fc.assert(
    fc.property(list, (inner) => {
      const text = formatInnerList(inner)
      assert.deepEqual(parseDictionary(`a=${text}`).get('a'), inner)
    }),
  )
})

test('no text is anything but read or refused', () => {
  const piece = fc.oneof(fc.constantFrom(...'()";,=:?-*a1 \t\\', '"a"', ':AA==:', 'sig1'), fc.string({ maxLength: 3 }))
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const text = pieces.join('')
      try {
        const dictionary = parseDictionary(text)
        for (const member of dictionary.values()) if (isInnerList(member)) formatInnerList(member)
      } catch (error) {
        assert.equal((error as Error).name, 'StructuredFieldError', text)
      }
    }),
    { numRuns: 3000 },
  )
})

test('an unknown key costs as much time as a known one', () => {
  const base = Buffer.alloc(500, 'x')
  const rsa = { keyId: 'k', thumbprint: '', key: generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey }
  const p256 = { keyId: 'k', thumbprint: '', key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey }
  for (const [known, signature] of [
    [rsa, Buffer.alloc(256, 0x11)],
    [ed25519, Buffer.alloc(64, 0x11)],
    [p256, Buffer.alloc(64, 0x11)],
  ] as const) {
    const took: [number[], number[]] = [[], []]
    for (let i = 0; i < 400; i++) {
      for (const [side, keys] of [[known], []].entries()) {
        const startMs = performance.now()
        assert.equal(findSigner(keys, undefined, base, signature), undefined)
        took[side]?.push(performance.now() - startMs)
      }
    }
    const [one = 0, other = 0] = took.map((times) => times.sort((a, b) => a - b)[200] ?? 0)
    assert.ok(one < 4 * other && other < 4 * one, `${known.key.asymmetricKeyType}: ${one} ms and ${other} ms`)
  }
})
