// RFC 7515 and RFC 7638 by their own vectors; what we sign is verified by somebody else's code (jose).
import assert from 'node:assert/strict'
import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { calculateJwkThumbprint, flattenedVerify, importJWK } from 'jose'
import type { PluginContext } from '../plugin-api.ts'
import { accountKeyOf } from '../plugins/keys/file.ts'
import { bindExternalAccount, type FlattenedJws, type ProtectedHeader, signFlattened, signKeyChange } from './jws.ts'

const silent = () => undefined
const context: PluginContext = {
  signal: new AbortController().signal,
  clock: { nowMs: () => 0, monotonicMs: () => 0, sleep: async () => undefined },
  log: { debug: silent, info: silent, warn: silent, error: silent },
  http: { request: () => Promise.reject(new Error('no network here')) },
  randomBytes: (length) => new Uint8Array(length),
}

const url = 'https://ca.example/acme/new-order'

function decode(encoded: string): unknown {
  assert.match(encoded, /^[A-Za-z0-9_-]*$/, 'base64url without padding')
  return JSON.parse(Buffer.from(encoded, 'base64url').toString())
}

function makeKey(kind: 'rsa' | 'P-256' | 'P-384'): KeyObject {
  return kind === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    : generateKeyPairSync('ec', { namedCurve: kind }).privateKey
}

// RFC 7515 appendix A.2: RSASSA-PKCS1-v1_5 is deterministic, so the signature itself can be compared.
const a2Key = {
  kty: 'RSA',
  n: 'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ',
  e: 'AQAB',
  d: 'Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ',
  p: '4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc',
  q: 'uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc',
  dp: 'BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0',
  dq: 'h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU',
  qi: 'IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuMzaWJnZcuTmRdfvMNIGh1Yvi1DYvmAGp1VoAgPPkRAwMbAMUFcuAAUNLnLMnrpVFKMXAeGGhpMa2NYYVjpgq2cN6YwfKGzfjBjHvYb1YJRW4ZeRNYNvIw-gfYGPFUc',
}
const a2SigningInput =
  'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ'
const a2Signature =
  'cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw'

test('RFC 7515 A.2: RS256', async () => {
  const key = accountKeyOf(createPrivateKey({ key: a2Key, format: 'jwk' }))
  assert.equal(key.alg, 'RS256')
  const signature = await key.sign(Buffer.from(a2SigningInput), context)
  assert.equal(Buffer.from(signature).toString('base64url'), a2Signature)
})

test('RFC 7515 A.3: an ES256 signature is two integers of 32 octets, side by side', async () => {
  const key = accountKeyOf(
    createPrivateKey({
      key: {
        kty: 'EC',
        crv: 'P-256',
        x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
        y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
        d: 'jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI',
      },
      format: 'jwk',
    }),
  )
  assert.equal(key.alg, 'ES256')
  assert.deepEqual(Object.keys(key.publicJwk).sort(), ['crv', 'kty', 'x', 'y'], 'nothing private in it')
  const header = 'eyJhbGciOiJFUzI1NiJ9'
  const payload = a2SigningInput.slice(a2SigningInput.indexOf('.') + 1)
  const publicKey = await importJWK({ ...key.publicJwk }, 'ES256')
  const signature = await key.sign(Buffer.from(`${header}.${payload}`), context)
  assert.equal(signature.length, 64)
  const fromRfc = 'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q'
  for (const one of [fromRfc, Buffer.from(signature).toString('base64url')])
    await flattenedVerify({ protected: header, payload, signature: one }, publicKey)
})

test('RFC 7638 §3.1: the thumbprint of the public key that we send', async () => {
  const n =
    '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
  assert.equal(
    await calculateJwkThumbprint({ kty: 'RSA', n, e: 'AQAB', alg: 'RS256', kid: '2011-04-29' }),
    'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
  )
  // Of our own key only the members that the thumbprint is made of may go out (RFC 8555 §6.2).
  assert.deepEqual(accountKeyOf(createPrivateKey({ key: a2Key, format: 'jwk' })).publicJwk, {
    kty: 'RSA',
    n: a2Key.n,
    e: 'AQAB',
  })
})

for (const [kind, alg] of [
  ['rsa', 'RS256'],
  ['P-256', 'ES256'],
  ['P-384', 'ES384'],
] as const) {
  test(`${alg}: jose accepts what we sign, and nothing that was altered`, async () => {
    const key = accountKeyOf(makeKey(kind))
    assert.equal(key.alg, alg)
    const publicKey = await importJWK({ ...key.publicJwk }, alg)
    const header: ProtectedHeader = { alg: key.alg, kid: 'https://ca.example/acct/1', nonce: 'n-1', url }
    const jws = await signFlattened(header, { identifiers: [{ type: 'dns', value: 'ü.example' }] }, (octets) =>
      key.sign(octets, context),
    )
    const verified = await flattenedVerify(jws, publicKey, { algorithms: [alg] })
    assert.deepEqual(verified.protectedHeader, header)
    assert.deepEqual(JSON.parse(Buffer.from(verified.payload).toString()), {
      identifiers: [{ type: 'dns', value: 'ü.example' }],
    })
    const other = Buffer.from(JSON.stringify({ ...header, url: `${url}/other` })).toString('base64url')
    for (const altered of [{ payload: '' }, { payload: 'e30' }, { protected: other }]) {
      await assert.rejects(flattenedVerify({ ...jws, ...altered }, publicKey), {
        code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
      })
    }
  })
}

test('keys that no CA takes are refused', () => {
  const refused = [
    generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey,
    generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey,
    generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey,
    generateKeyPairSync('ed25519').privateKey,
  ]
  for (const key of refused) assert.throws(() => accountKeyOf(key), /account key must be RSA .* P-256 or P-384/)
})

test('RFC 8555 §6.3: a POST-as-GET has the empty payload, which is not {}', async () => {
  const signed: string[] = []
  const sign = async (octets: Uint8Array) => {
    signed.push(Buffer.from(octets).toString())
    return new Uint8Array([0xff, 0xfe, 0xfb])
  }
  const header: ProtectedHeader = { alg: 'ES256', kid: 'https://ca.example/acct/1', nonce: 'n', url }
  const asGet = await signFlattened(header, undefined, sign)
  const empty = await signFlattened(header, {}, sign)
  assert.equal(asGet.payload, '')
  assert.equal(empty.payload, 'e30')
  assert.deepEqual(signed, [`${asGet.protected}.`, `${empty.protected}.e30`])
  assert.equal(asGet.signature, '__77', 'base64url, not base64')
  assert.deepEqual(Object.keys(asGet).sort(), ['payload', 'protected', 'signature'])
})

test('the header goes out as it was given, whatever the address holds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.webUrl({ withQueryParameters: true, withFragments: true }),
      fc.string(),
      async (target, nonce) => {
        const header: ProtectedHeader = { alg: 'RS256', jwk: { kty: 'RSA', n: 'AQ', e: 'AQAB' }, nonce, url: target }
        const jws = await signFlattened(header, undefined, async () => new Uint8Array(1))
        assert.deepEqual(decode(jws.protected), header)
      },
    ),
  )
})

// RFC 8555 §7.3.5
for (const [oldKind, newKind] of [
  ['rsa', 'P-256'],
  ['P-256', 'P-384'],
  ['P-384', 'rsa'],
] as const) {
  test(`RFC 8555 §7.3.5: ${newKind} asks for the account of ${oldKind}, with its own key and no nonce`, async () => {
    const [oldKey, newKey] = [accountKeyOf(makeKey(oldKind)), accountKeyOf(makeKey(newKind))]
    const change = {
      url: 'https://ca.example/acme/key-change',
      accountUrl: 'https://ca.example/acct/1',
      oldJwk: oldKey.publicJwk,
    }
    const inner = await signKeyChange(newKey, change, (octets) => newKey.sign(octets, context))
    assert.deepEqual(decode(inner.protected), { alg: newKey.alg, jwk: newKey.publicJwk, url: change.url })
    assert.deepEqual(decode(inner.payload), { account: change.accountUrl, oldKey: oldKey.publicJwk })
    await flattenedVerify(inner, await importJWK({ ...newKey.publicJwk }, newKey.alg))
    await assert.rejects(async () => flattenedVerify(inner, await importJWK({ ...oldKey.publicJwk }, oldKey.alg)))
  })
}

// RFC 8555 §7.3.4
const macKey = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W'
const accountJwk = {
  kty: 'EC',
  crv: 'P-256',
  x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
  y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
}
const newAccountUrl = 'https://ca.example/acme/new-account'

function bind(key = macKey): FlattenedJws {
  return bindExternalAccount(accountJwk, newAccountUrl, { kid: 'kid-1', macKey: key })
}

test('RFC 8555 §7.3.4: the binding is HS256 over the account key, with kid and url and no nonce', async () => {
  const binding = bind()
  assert.deepEqual(decode(binding.protected), { alg: 'HS256', kid: 'kid-1', url: newAccountUrl })
  assert.deepEqual(decode(binding.payload), accountJwk)
  await flattenedVerify(binding, Buffer.from(macKey, 'base64url'), { algorithms: ['HS256'] })
  const mac = createHmac('sha256', Buffer.from(macKey, 'base64url'))
  assert.equal(binding.signature, mac.update(`${binding.protected}.${binding.payload}`).digest('base64url'))
})

test('a MAC key is the same with padding, and another one makes another signature', () => {
  const padded = Buffer.from('k'.repeat(32)).toString('base64').replace(/\+/g, '-').replace(/\//g, '_')
  assert.ok(padded.endsWith('='))
  assert.deepEqual(bind(padded), bind(padded.replace(/=+$/, '')))
  assert.notEqual(bind(padded).signature, bind().signature)
})
