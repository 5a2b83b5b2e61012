// Signed requests (RFC 9421, RFC 9530) at a server that runs: who gets in, and every way not to.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { type Acmems, startAcmems } from './acmems.ts'
import { readSnippet } from './documentation.ts'
import { certificatesOf, makeCsr, namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { requirePeer } from './peers/peers.ts'
import {
  type Algorithm,
  defaultComponents,
  digestOf,
  type HeaderLine,
  makeNonce,
  postTo,
  type Reply,
  type SigningWish,
  signRequest,
} from './request-signer.ts'

type KeyPair = { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
const pairs = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  pss: generateKeyPairSync('rsa-pss', { modulusLength: 2048 }),
  ed25519: generateKeyPairSync('ed25519'),
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
} satisfies Record<string, KeyPair>
const stranger = generateKeyPairSync('ed25519')
const [oldSecret, newSecret] = ['old '.repeat(8), 'N'.repeat(32)]
const addressOfIpBlock = '127.0.0.9'

function oneLinePem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString().replaceAll('\n', ' ').trim()
}

function thumbprint(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64url')
}

/** As ssh-keygen writes it. */
function openSshLine({ x }: { x?: string }): string {
  const field = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes])
  const blob = Buffer.concat([field(Buffer.from('ssh-ed25519')), field(Buffer.from(x ?? '', 'base64url'))])
  return `ssh-ed25519 ${blob.toString('base64')} root@host`
}

const files = makeTempFolder('keys')
const pemFile = join(files.path, 'p256.pub')
writeFileSync(pemFile, pairs.p256.publicKey.export({ type: 'spki', format: 'pem' }))

const config = `[account]
type = local
[mgmt]
default-verification =
[auth "rsa"]
public-key = ${oneLinePem(pairs.rsa.publicKey)}
domain = *.rsa.example.org
[auth "pss"]
public-key = ${oneLinePem(pairs.pss.publicKey)}
domain = *.pss.example.org
[auth "ed"]
public-key = ${openSshLine(pairs.ed25519.publicKey.export({ format: 'jwk' }))}
key-id = ed-key
domain = *.ed.example.org
[auth "the same key again"]
public-key = ${oneLinePem(pairs.ed25519.publicKey)}
domain = *.again.example.org
[auth "several"]
public-key = ${pemFile}
public-key = ${oneLinePem(pairs.p384.publicKey)}
domain = *.several.example.org
[auth "secret"]
signing-secret = "${oldSecret}"
signing-secret = ${newSecret}
domain = *.secret.example.org
[auth "key and address"]
ip = 127.0.0.8
public-key = ${pemFile}
key-id = both
domain = *.both.example.org
[auth "by address"]
ip = ${addressOfIpBlock}
domain = *.ip.example.org
`

let acmems: Acmems
const folder = makeTempFolder('signatures')
before(async () => {
  acmems = await startAcmems(config, { folder: folder.path })
})
after(async () => {
  await acmems.stop()
  folder[Symbol.dispose]()
  files[Symbol.dispose]()
})

const bodies = new Map<string, string>()
/** One for each name: making keys takes its time. */
function csrFor(name: string): string {
  const body = bodies.get(name) ?? makeCsr({ names: [name] })
  bodies.set(name, body)
  return body
}

type Wish = Omit<SigningWish, 'authority' | 'body'> & Partial<Pick<SigningWish, 'authority' | 'body'>>
const edWish: Wish = { key: pairs.ed25519.privateKey, keyId: 'ed-key', algorithm: 'ed25519' }
const edName = 'www.ed.example.org'

function headersFor(wish: Wish): HeaderLine[] {
  return signRequest({ authority: `127.0.0.1:${acmems.mgmtPort}`, body: csrFor(edName), ...wish })
}

function post(
  headers: readonly HeaderLine[],
  body = csrFor(edName),
  more: { localAddress?: string; path?: string; method?: string; host?: string } = {},
): Promise<Reply> {
  return postTo({ port: acmems.mgmtPort, body, headers, ...more })
}

function assertIssued(reply: Reply, name = edName): void {
  assert.equal(reply.status, 200, reply.text)
  assert.deepEqual(namesOf(certificatesOf(reply.text)[0]), [`DNS:${name}`])
}

/** 401 says how it should be, and what time it is. */
function assertUnauthorized(reply: Reply, text: RegExp): void {
  assert.equal(reply.status, 401, reply.text)
  assert.match(reply.text, text)
  assert.match(
    String(reply.headers['accept-signature']),
    /^sig1=\("@method" "@authority" "@path" "content-digest"\);created;nonce;keyid$/,
  )
  assert.ok(Math.abs(Date.parse(String(reply.headers.date)) - Date.now()) < 60_000)
}

const wrong = /does not hold, or its key is not known/

describe('who gets in', () => {
  const ways: readonly (readonly [string, Wish, string])[] = [
    ['RSA', { key: pairs.rsa.privateKey, keyId: 'rsa', algorithm: 'rsa-v1_5-sha256' }, 'rsa'],
    [
      'RSA-PSS with an RSA key',
      { key: pairs.rsa.privateKey, keyId: 'rsa', algorithm: 'rsa-pss-sha512', parameters: ';alg="rsa-pss-sha512"' },
      'rsa',
    ],
    [
      'RSA-PSS',
      { key: pairs.pss.privateKey, keyId: 'pss', algorithm: 'rsa-pss-sha512', parameters: ';alg="rsa-pss-sha512"' },
      'pss',
    ],
    ['Ed25519', edWish, 'ed'],
    ['P-256', { key: pairs.p256.privateKey, keyId: 'several', algorithm: 'ecdsa-p256-sha256' }, 'several'],
    [
      'P-256 in DER',
      { key: pairs.p256.privateKey, keyId: 'several', algorithm: 'ecdsa-p256-sha256', der: true },
      'several',
    ],
    ['P-384', { key: pairs.p384.privateKey, keyId: 'several', algorithm: 'ecdsa-p384-sha384' }, 'several'],
    [
      'P-384 in DER',
      { key: pairs.p384.privateKey, keyId: 'several', algorithm: 'ecdsa-p384-sha384', der: true },
      'several',
    ],
    ['HMAC', { key: oldSecret, keyId: 'secret', algorithm: 'hmac-sha256' }, 'secret'],
    ['HMAC with the other secret', { key: newSecret, keyId: 'secret', algorithm: 'hmac-sha256' }, 'secret'],
  ]
  for (const [name, wish, zone] of ways) {
    test(name, async () => {
      const host = `www.${zone}.example.org`
      const body = csrFor(host)
      assertIssued(await post(headersFor({ ...wish, body }), body), host)
      const named = { ...wish, body, parameters: `;alg="${wish.algorithm}"` }
      assertIssued(await post(headersFor(named), body), host)
    })
  }

  test("by the key's thumbprint", async () => {
    const keyId = thumbprint(pairs.ed25519.publicKey)
    assertIssued(await post(headersFor({ ...edWish, keyId })))
  })

  test('one key in several blocks, by either name', async () => {
    const body = csrFor('www.again.example.org')
    for (const keyId of ['ed-key', 'the same key again', thumbprint(pairs.ed25519.publicKey)])
      assertIssued(await post(headersFor({ ...edWish, keyId, body }), body), 'www.again.example.org')
  })

  test('any label; of several signatures ours; header fields besides; sha-512', async () => {
    assertIssued(await post(headersFor({ ...edWish, label: '*my-own.1' })))
    const [digest, input, signature] = headersFor({ ...edWish, parameters: ';tag="acme-mgmt"' })
    const two: HeaderLine[] = [
      digest ?? ['', ''],
      ['Signature-Input', `proxy=("@method");created=1;keyid="other", ${input?.[1]}`],
      ['Signature', `proxy=:AAAA:, ${signature?.[1]}`],
    ]
    assertIssued(await post(two))
    const separate: HeaderLine[] = [
      ['Signature-Input', 'proxy=("@method")'],
      ...headersFor({ ...edWish, parameters: ';tag="acme-mgmt"' }),
    ]
    assertIssued(await post([...separate, ['Signature', 'proxy=:AAAA:']]))
    const components = [...defaultComponents, '"content-type"', '"x-twice"', '"x-empty"']
    const fields = { '"content-type"': 'application/pkcs10', '"x-twice"': 'a, b', '"x-empty"': '' }
    const more: HeaderLine[] = [
      ['Content-Type', ' application/pkcs10 '],
      ['X-Twice', 'a'],
      ['X-Twice', 'b'],
      ['X-Empty', ''],
    ]
    assertIssued(await post([...headersFor({ ...edWish, components, fields }), ...more]))
    assertIssued(await post(headersFor({ ...edWish, digest: digestOf(csrFor(edName), 'sha512') })))
    const both = `${digestOf(csrFor(edName))}, ${digestOf(csrFor(edName), 'sha512')}, md5=:AAAA:`
    assertIssued(await post(headersFor({ ...edWish, digest: both })))
  })

  test('the host name in any case', async () => {
    const host = `LOCALHOST:${acmems.mgmtPort}`
    assertIssued(await post(headersFor({ ...edWish, authority: host.toLowerCase() }), csrFor(edName), { host }))
  })

  test('a key and an address: both must hold', async () => {
    const body = csrFor('www.both.example.org')
    const wish: Wish = { key: pairs.p256.privateKey, keyId: 'both', algorithm: 'ecdsa-p256-sha256', body }
    assertIssued(await post(headersFor(wish), body, { localAddress: '127.0.0.8' }), 'www.both.example.org')
    assert.equal((await post(headersFor(wish), body)).status, 403)
    assertUnauthorized(await post([], body, { localAddress: '127.0.0.8' }), /must be signed/)
  })

  test('a block by address is as before, and a request without a signature to the others is told how', async () => {
    const body = csrFor('www.ip.example.org')
    assertIssued(await post([], body, { localAddress: addressOfIpBlock }), 'www.ip.example.org')
    assertUnauthorized(await post([], body), /must be signed/)
    assert.equal((await post([], csrFor(edName), { localAddress: addressOfIpBlock })).status, 403)
  })

  test('a good signature does not widen what its block covers', async () => {
    const body = csrFor('www.rsa.example.org')
    const reply = await post(headersFor({ ...edWish, body }), body)
    assert.equal(reply.status, 403)
    assert.match(reply.text, /www\.rsa\.example\.org: not in any auth block/)
  })
})

describe('who does not', () => {
  test('a signature is good once, also after a kill and a restart', async () => {
    const headers = headersFor(edWish)
    assertIssued(await post(headers))
    assertUnauthorized(await post(headers), /used before/)
    const { mgmtPort } = acmems
    process.kill(acmems.pid, 'SIGKILL')
    await acmems.stop()
    acmems = await startAcmems(config, { folder: folder.path, mgmtPort })
    assertUnauthorized(await post(headers), /used before/)
    assertIssued(await post(headersFor(edWish)))
  })

  test('of many at once with one nonce one gets in', async () => {
    const nonce = makeNonce()
    const replies = await Promise.all(Array.from({ length: 20 }, () => post(headersFor({ ...edWish, nonce }))))
    assert.deepEqual(replies.map(({ status }) => status).sort(), [200, ...Array.from({ length: 19 }, () => 401)])
    const rsa: Wish = { key: pairs.rsa.privateKey, keyId: 'rsa', algorithm: 'rsa-v1_5-sha256', nonce }
    const body = csrFor('www.rsa.example.org')
    assertIssued(await post(headersFor({ ...rsa, body }), body), 'www.rsa.example.org')
  })

  test('what is refused spends no nonce', async () => {
    const headers = headersFor(edWish)
    assertUnauthorized(await post(headers, csrFor('www.again.example.org')), /body is not the one/)
    assertUnauthorized(await post([['Signature', 'sig1=:AAAA:'], ...headers.slice(0, 2)]), wrong)
    assertIssued(await post(headers))
  })

  const now = () => Math.floor(Date.now() / 1000)
  const refusals: readonly (readonly [string, () => readonly HeaderLine[], 400 | 401, RegExp])[] = [
    [
      'made long ago',
      () => headersFor({ ...edWish, created: 1_700_000_000 }),
      401,
      /created at 2023-11-14T22:13:20Z and it is 20/,
    ],
    ['six minutes ago', () => headersFor({ ...edWish, created: now() - 360 }), 401, /300 seconds apart/],
    ['in six minutes', () => headersFor({ ...edWish, created: now() + 360 }), 401, /300 seconds apart/],
    ['at the end of time', () => headersFor({ ...edWish, created: 999_999_999_999_999 }), 401, /300 seconds apart/],
    ['before time', () => headersFor({ ...edWish, created: -1 }), 400, /no number of seconds/],
    ['expired', () => headersFor({ ...edWish, parameters: `;expires=${now() - 1}` }), 401, /has expired/],
    ['created is a text', () => headersFor({ ...edWish, created: `"${now()}"` }), 400, /no number of seconds/],
    ['created has a fraction', () => headersFor({ ...edWish, created: `${now()}.5` }), 400, /cannot be read/],
    ['created is written in two ways', () => headersFor({ ...edWish, created: `0${now()}` }), 401, wrong],
    ['a nonce that is too short', () => headersFor({ ...edWish, nonce: '0123456789' }), 401, /nonce of 16/],
    ['a nonce that is too long', () => headersFor({ ...edWish, nonce: 'x'.repeat(129) }), 401, /nonce of 16/],
    ['for another path', () => headersFor({ ...edWish, path: '/other' }), 401, wrong],
    ['for another method', () => headersFor({ ...edWish, method: 'PUT' }), 401, wrong],
    ['for another server', () => headersFor({ ...edWish, authority: 'other.example' }), 401, wrong],
    ['another body', () => headersFor({ ...edWish, body: 'other' }), 401, /body is not the one/],
    [
      'the digest not covered',
      () => headersFor({ ...edWish, components: defaultComponents.slice(0, 3) }),
      401,
      /must cover content-digest/,
    ],
    [
      'the path not covered',
      () => headersFor({ ...edWish, components: ['"@method"', '"@authority"', '"content-digest"'] }),
      401,
      /must cover @path/,
    ],
    ['nothing covered', () => headersFor({ ...edWish, components: [] }), 401, /must cover @method and @authority/],
    [
      'a component twice',
      () => headersFor({ ...edWish, components: [...defaultComponents, '"@path"'] }),
      400,
      /@path is there twice/,
    ],
    [
      'a component of a response',
      () => headersFor({ ...edWish, components: [...defaultComponents, '"@status"'] }),
      400,
      /@status is not understood/,
    ],
    [
      'a component with a parameter',
      () => headersFor({ ...edWish, components: [...defaultComponents, '"date";sf'] }),
      400,
      /parameters of components/,
    ],
    [
      'the path of another request',
      () =>
        headersFor({ ...edWish, components: [...defaultComponents.slice(0, 2), '"@path";req', '"content-digest"'] }),
      400,
      /parameters of components/,
    ],
    [
      'a field that is not there',
      () => headersFor({ ...edWish, components: [...defaultComponents, '"x-none"'] }),
      400,
      /which the request has not/,
    ],
    [
      'the signature over itself',
      () => headersFor({ ...edWish, components: [...defaultComponents, '"signature-input"'] }),
      400,
      /not understood/,
    ],
    [
      'a field in capitals',
      () => headersFor({ ...edWish, components: [...defaultComponents, '"Host"'] }),
      400,
      /not understood/,
    ],
    ['components that are words', () => headersFor({ ...edWish, components: ['method'] }), 400, /no string/],
    ['a weak digest', () => headersFor({ ...edWish, digest: 'md5=:AAAA:' }), 400, /neither sha-256 nor sha-512/],
    [
      'one of two digests is wrong',
      () => headersFor({ ...edWish, digest: `${digestOf(csrFor(edName))}, ${digestOf('x', 'sha512')}` }),
      401,
      /body is not the one/,
    ],
    ['a digest that is no octets', () => headersFor({ ...edWish, digest: 'sha-256="abc"' }), 400, /no byte sequence/],
    [
      'the digest in another header',
      () => headersFor(edWish).map(([name, value]) => [name.replace('Content-', 'Repr-'), value]),
      400,
      /which the request has not/,
    ],
    ['an unknown key id', () => headersFor({ ...edWish, keyId: 'nobody' }), 401, wrong],
    [
      'a thumbprint that nobody enrolled',
      () => headersFor({ ...edWish, key: stranger.privateKey, keyId: thumbprint(stranger.publicKey) }),
      401,
      wrong,
    ],
    ["another's key id", () => headersFor({ ...edWish, keyId: 'rsa' }), 401, wrong],
    ["a stranger's key under a known id", () => headersFor({ ...edWish, key: stranger.privateKey }), 401, wrong],
    ['no key id', () => headersFor({ ...edWish, keyId: '' }), 401, /name its keyid/],
    ['a key id of 300 characters', () => headersFor({ ...edWish, keyId: 'x'.repeat(300) }), 401, /name its keyid/],
    ['another algorithm named', () => headersFor({ ...edWish, parameters: ';alg="hmac-sha256"' }), 401, wrong],
    ['an algorithm that is none', () => headersFor({ ...edWish, parameters: ';alg="none"' }), 401, wrong],
    ['no algorithm', () => headersFor({ ...edWish, parameters: ';alg=""' }), 401, wrong],
    [
      'an algorithm that is a word',
      () => headersFor({ ...edWish, parameters: ';alg=ed25519' }),
      400,
      /alg is no string/,
    ],
    [
      'the public key as a secret',
      () => headersFor({ ...edWish, key: oneLinePem(pairs.ed25519.publicKey), parameters: ';alg="hmac-sha256"' }),
      401,
      wrong,
    ],
    [
      'the public key in PEM as a secret',
      () =>
        headersFor({
          key: pairs.rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
          keyId: 'rsa',
          algorithm: 'hmac-sha256',
        }),
      401,
      wrong,
    ],
    [
      'RSA-PSS that does not say so',
      () => headersFor({ key: pairs.rsa.privateKey, keyId: 'rsa', algorithm: 'rsa-pss-sha512' }),
      401,
      wrong,
    ],
    [
      'a wrong secret',
      () => headersFor({ key: 'x'.repeat(32), keyId: 'secret', algorithm: 'hmac-sha256' }),
      401,
      wrong,
    ],
    [
      'for another application',
      () => headersFor({ ...edWish, parameters: ';tag="other"' }),
      400,
      /another application/,
    ],
    ['a parameter twice', () => headersFor({ ...edWish, parameters: ';keyid="rsa"' }), 400, /keyid is there twice/],
    ['a label twice in one header', () => twice(headersFor(edWish), ', '), 400, /sig1 is there twice/],
    [
      'a label twice in two headers',
      () => [...headersFor(edWish), ['Signature-Input', 'sig1=("@method")']],
      400,
      /sig1 is there twice/,
    ],
    [
      'two signatures, neither marked',
      () => [['Signature-Input', 'x=()'], ...headersFor(edWish)],
      400,
      /one signature is wanted/,
    ],
    [
      'two that are marked',
      () => [['Signature-Input', 'x=();tag="acme-mgmt"'], ...headersFor({ ...edWish, parameters: ';tag="acme-mgmt"' })],
      400,
      /one signature is wanted/,
    ],
    ['no Signature', () => headersFor(edWish).slice(0, 2), 400, /no sig1=/],
    [
      'no Signature-Input',
      () => headersFor(edWish).filter(([name]) => name !== 'Signature-Input'),
      400,
      /no Signature-Input/,
    ],
    [
      'another label',
      () =>
        headersFor(edWish).map(([name, value]) => [name, name === 'Signature' ? value.replace('sig1', 'sig2') : value]),
      400,
      /no sig1=/,
    ],
    [
      'a signature that is a text',
      () => headersFor(edWish).map(([name, value]) => [name, name === 'Signature' ? 'sig1="x"' : value]),
      400,
      /no sig1=/,
    ],
    [
      'an empty signature',
      () => headersFor(edWish).map(([name, value]) => [name, name === 'Signature' ? 'sig1=::' : value]),
      401,
      wrong,
    ],
    [
      'empty headers',
      () => [
        ['Signature-Input', ''],
        ['Signature', ''],
      ],
      400,
      /no Signature-Input/,
    ],
    [
      'a list that does not end',
      () => [
        ['Signature-Input', 'sig1=("@method"'],
        ['Signature', 'sig1=:AAAA:'],
      ],
      400,
      /cannot be read/,
    ],
    [
      '30 components',
      () => headersFor({ ...edWish, components: Array.from({ length: 30 }, (_, i) => `"x-${i}"`) }),
      400,
      /too long/,
    ],
    ['9 kB of a header', () => headersFor({ ...edWish, parameters: `;x="${'y'.repeat(9000)}"` }), 400, /too long/],
  ]
  for (const [name, make, status, text] of refusals) {
    test(name, async () => {
      const reply = await post(make())
      assert.equal(reply.status, status, reply.text)
      if (status === 401) assertUnauthorized(reply, text)
      else assert.match(reply.text, text)
      // An address that another block knows changes nothing.
      const fromIpBlock = await post(make(), csrFor(edName), { localAddress: addressOfIpBlock })
      assert.equal(fromIpBlock.status, status, fromIpBlock.text)
    })
  }

  test('100 kB of headers', async () => {
    const reply = await post([...headersFor(edWish), ['X-Padding', 'x'.repeat(100_000)]]).catch(() => undefined)
    if (reply !== undefined) assert.equal(reply.status, 431)
  })

  test('99 headers of the same name', async () => {
    const lines = Array.from({ length: 90 }, (_, i): HeaderLine => ['Signature-Input', `s${i}=("@method")`])
    assert.equal((await post([...lines, ...headersFor(edWish)])).status, 400)
  })

  test('a body that nobody may send is not waited for', async () => {
    const reply = await post(headersFor({ ...edWish, keyId: 'nobody' }), 'x'.repeat(100_000))
    assertUnauthorized(reply, wrong)
  })

  test('nonsense of every kind is refused, and never an error', async () => {
    const good = headersFor(edWish)
    const pieces = [
      '',
      '"',
      '(',
      ')',
      ':',
      ';',
      ',',
      '=',
      '\\',
      '?1',
      '-',
      '*',
      'sig1',
      ' ',
      '\t',
      '\u00ff',
      '9'.repeat(20),
      '@path',
    ]
    let seed = 1
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed % below
    }
    for (let round = 0; round < 300; round++) {
      const headers = good.map(([name, value]): HeaderLine => {
        if (random(2) === 0) return [name, value]
        const at = random(value.length)
        return [name, `${value.slice(0, at)}${pieces[random(pieces.length)]}${value.slice(at + random(4))}`.trim()]
      })
      if (headers.every(([, value], i) => value === good[i]?.[1])) continue
      const reply = await post(headers)
      assert.ok(reply.status === 400 || reply.status === 401, `${reply.status} ${JSON.stringify(headers)}`)
    }
    assertIssued(await post(good))
  })

  test('nothing of it is an error in the log, and no secret is there', () => {
    const bad = acmems.logLines().filter(({ level, status }) => level === 'error' || Number(status) >= 500)
    assert.deepEqual(bad, [])
    assert.doesNotMatch(acmems.log(), /"stack"/)
    assert.ok(!acmems.log().includes(newSecret) && !acmems.log().includes(oldSecret))
  })
})

function twice(headers: readonly HeaderLine[], separator: string): HeaderLine[] {
  return headers.map(([name, value]) => [name, name === 'Content-Digest' ? value : `${value}${separator}${value}`])
}

// the lines of the documentation ------------------------------------------------------------------

describe('the lines of docs/request-signatures.md', () => {
  const lines: readonly { mark: string; keyId: string; zone: string; key: KeyObject | string; algorithm: Algorithm }[] =
    [
      { mark: 'rsa lines', keyId: 'rsa', zone: 'rsa', key: pairs.rsa.privateKey, algorithm: 'rsa-v1_5-sha256' },
      {
        mark: 'rsa lines',
        keyId: 'several',
        zone: 'several',
        key: pairs.p256.privateKey,
        algorithm: 'ecdsa-p256-sha256',
      },
      { mark: 'hmac lines', keyId: 'secret', zone: 'secret', key: newSecret, algorithm: 'hmac-sha256' },
      { mark: 'ed25519 lines', keyId: 'ed-key', zone: 'ed', key: pairs.ed25519.privateKey, algorithm: 'ed25519' },
    ]
  for (const { mark, keyId, zone, key, algorithm } of lines) {
    for (const shellName of ['dash', 'bash'] as const) {
      test(`${mark} in ${shellName}, ${algorithm}`, async (t) => {
        const shell = requirePeer(t, shellName)
        if (!shell || !requirePeer(t, 'curl') || !requirePeer(t, 'openssl')) return
        using work = makeTempFolder('lines')
        const name = `www.${zone}.example.org`
        writeFileSync(join(work.path, 'host.csr'), csrFor(name))
        if (typeof key !== 'string')
          writeFileSync(join(work.path, 'agent.key'), key.export({ type: 'pkcs8', format: 'pem' }))
        const text = readSnippet('docs/request-signatures.md', mark).replace('https://', 'http://')
        const env = {
          ...process.env,
          ...{ HUB: `127.0.0.1:${acmems.mgmtPort}`, CSR: 'host.csr', KEYID: keyId, KEY: newSecret },
        }
        const run = (script: string) => promisify(execFile)(shell.path, ['-c', script], { cwd: work.path, env })
        for (let i = 0; i < 2; i++)
          assert.deepEqual(namesOf(certificatesOf((await run(text)).stdout)[0]), [`DNS:${name}`])
        await assert.rejects(run(text.replace('POST', 'PUT')), /22/)
      })
    }
  }

  test('the thumbprint', async (t) => {
    const shell = requirePeer(t, 'dash')
    if (!shell || !requirePeer(t, 'openssl')) return
    using work = makeTempFolder('lines')
    for (const { publicKey, privateKey } of Object.values(pairs)) {
      writeFileSync(join(work.path, 'agent.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
      const line = readSnippet('docs/request-signatures.md', 'thumbprint line')
      const { stdout }: { stdout: string } = await promisify(execFile)(shell.path, ['-c', line], { cwd: work.path })
      assert.equal(stdout.trim(), thumbprint(publicKey))
    }
  })
})
