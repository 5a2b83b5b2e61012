import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dns01TxtValue, keyAuthorization } from './key-authorization.ts'

// The thumbprint is that of RFC 7638 §3.1, the token that of RFC 8555 §8.3's example.
const token = 'LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0'
const thumbprint = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs'

test('RFC 8555 §8.1: token, dot, thumbprint, and nothing behind it', () => {
  assert.equal(
    keyAuthorization(token, thumbprint),
    'LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
  )
})

test('RFC 8555 §8.4: the TXT value, as openssl computes it', () => {
  // printf %s TOKEN.THUMBPRINT | openssl dgst -sha256 -binary | basenc --base64url | tr -d =
  assert.equal(dns01TxtValue(keyAuthorization(token, thumbprint)), '_cC5rvB9vM8qzT3MTBcTeVpQwtbNypBXyQnE4fhM9QQ')
})
