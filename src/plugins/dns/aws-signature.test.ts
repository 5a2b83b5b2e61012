// AWS's published test suite for Signature Version 4, the cases that say something about requests like ours.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AwsRequest, encodeAwsQuery, signAwsRequest } from './aws-signature.ts'

const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const scope = { region: 'us-east-1', service: 'service' }
const nowMs = Date.UTC(2015, 7, 30, 12, 36, 0)
const plain: AwsRequest = { method: 'GET', host: 'example.amazonaws.com', path: '/', query: [], body: '' }
const unreserved = '-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const form = { 'content-type': 'application/x-www-form-urlencoded' }
const sessionToken =
  'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=='

const suite: readonly [name: string, request: AwsRequest, signature: string][] = [
  ['get-vanilla', plain, '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
  [
    'get-header-value-trim',
    { ...plain, headers: { 'my-header1': ' value1', 'my-header2': ' "a   b   c"' } },
    'acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736',
  ],
  [
    'get-unreserved',
    { ...plain, path: `/${unreserved}` },
    '07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f',
  ],
  ['get-utf8', { ...plain, path: '/ሴ' }, '8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85'],
  [
    'get-vanilla-query-order-key-case',
    {
      ...plain,
      query: [
        ['Param2', 'value2'],
        ['Param1', 'value1'],
      ],
    },
    'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
  ],
  [
    'get-vanilla-query-unreserved',
    { ...plain, query: [[unreserved, unreserved]] },
    '9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197',
  ],
  [
    'get-vanilla-utf8-query',
    { ...plain, query: [['ሴ', 'bar']] },
    '2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04',
  ],
  ['post-vanilla', { ...plain, method: 'POST' }, '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b'],
  [
    'post-x-www-form-urlencoded',
    { ...plain, method: 'POST', headers: form, body: 'Param1=value1' },
    'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
  ],
]

for (const [name, request, signature] of suite) {
  test(name, () => {
    const { authorization, ...headers } = signAwsRequest(request, credentials, scope, nowMs)
    const names = Object.keys({ host: '', 'x-amz-date': '', ...request.headers }).sort()
    const credential = 'AKIDEXAMPLE/20150830/us-east-1/service/aws4_request'
    assert.equal(
      authorization,
      `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`,
    )
    assert.deepEqual(headers, { ...request.headers, 'x-amz-date': '20150830T123600Z' })
  })
}

test('post-sts-header-before: temporary credentials', () => {
  const request = { ...plain, method: 'POST' }
  const headers = signAwsRequest(request, { ...credentials, sessionToken }, scope, nowMs)
  assert.match(headers.authorization ?? '', /85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead$/)
  assert.equal(headers['x-amz-security-token'], sessionToken)
})

test('what is signed is what is sent', () => {
  assert.equal(
    encodeAwsQuery([
      ['b', "a*(')! /+"],
      ['a', 'z'],
      ['a', 'b'],
    ]),
    'a=b&a=z&b=a%2A%28%27%29%21%20%2F%2B',
  )
})
