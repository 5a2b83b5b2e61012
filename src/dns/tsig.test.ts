import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeTxtUpdate, parseReply } from './message.ts'
import { signMessage, type TsigAlgorithm, type TsigKey, verifyReply } from './tsig.ts'

// RFC 8945 has no test vectors: these requests were accepted, or refused, by BIND 9.18, and these are its answers.
const secret = Buffer.from('not-a-real-key-make-your-own')
const update = encodeTxtUpdate(0x1234, 'example.org', {
  fqdn: '_acme-challenge.www.example.org',
  value: 'ours',
  ttlSeconds: 60,
  action: 'add',
})
const vectors: readonly {
  readonly algorithm: TsigAlgorithm
  readonly atMs: number
  readonly mac: string
  readonly reply: string
}[] = [
  {
    algorithm: 'hmac-sha256',
    atMs: 1795319433000,
    mac: 'YzEn7AVbulul0JkiYe4FIHct0bibgn0VEtBc7xh5Zkg=',
    reply:
      'EjSoAAABAAAAAAABB2V4YW1wbGUDb3JnAAAGAAELaG1hYy1zaGEyNTYAAPoA/wAAAAAAPQtobWFjLXNoYTI1NgAAAGsCZokBLAAgShEcmItCWO8Z4jT9e9FWy0GK8qgJnGwUtwsuky207aUSNAAAAAA=',
  },
  {
    algorithm: 'hmac-sha384',
    atMs: 1795319433000,
    mac: 'NlHRWyg1ca9qjTqdMiXfSr/9nOD5MqAVCx/hDRPcMtpp8YSYkbmIuiDqZBOAveun',
    reply:
      'EjSoAAABAAAAAAABB2V4YW1wbGUDb3JnAAAGAAELaG1hYy1zaGEzODQAAPoA/wAAAAAATQtobWFjLXNoYTM4NAAAAGsCZokBLAAwf+Tnv6ucyDIU3zKzw5NLYZeIHfGmJtFdtfL8U0QmIcmpFDVGJiFV/UREZoReB1wdEjQAAAAA',
  },
  {
    algorithm: 'hmac-sha512',
    atMs: 1795319433000,
    mac: 'hMb+1hhYL1wA9ReCOCLAK2xYZK9Lde00PJ9cwKdGJtgHIIi8cdiLGbSZMzPy4uYWNBGntNaJBnBNPL5tI1A85A==',
    reply:
      'EjSoAAABAAAAAAABB2V4YW1wbGUDb3JnAAAGAAELaG1hYy1zaGE1MTIAAPoA/wAAAAAAXQtobWFjLXNoYTUxMgAAAGsCZokBLABA+yofoA3qOuurqUfTDL2iunWN+m+ky20JhZ3bZv9CD267t/PbEAVnrDCD181JXUyLdM38YlQr1divDaZTgPpatRI0AAAAAA==',
  },
]
const late = {
  atMs: 1795315833000,
  serverAtMs: 1795319433000,
  mac: 'bDbIhxAkc4ElVyM+wZLHshPmsm015esGpF9sLr91CW0=',
  reply:
    'EjSoCQABAAAAAAABB2V4YW1wbGUDb3JnAAAGAAELaG1hYy1zaGEyNTYAAPoA/wAAAAAAQwtobWFjLXNoYTI1NgAAAGsCWHkBLAAgCj0jF6HhCFprlVQnN3UccQ6vE9RhD5egi2by/JkLFyMSNAASAAYAAGsCZok=',
}

const keyOf = (algorithm: TsigAlgorithm): TsigKey => ({ name: algorithm, algorithm, secret })
const bytes = (text: string) => Buffer.from(text, 'base64')

for (const { algorithm, atMs, mac, reply } of vectors) {
  test(`${algorithm}: BIND takes what we sign, and we take what BIND signs`, () => {
    const signed = signMessage(update, keyOf(algorithm), atMs)
    assert.equal(Buffer.from(signed.mac).toString('base64'), mac)
    assert.deepEqual(verifyReply(bytes(reply), keyOf(algorithm), signed.mac, atMs), { is: 'good' })
    assert.equal(parseReply(bytes(reply)).rcode, 0)
  })
}

const [first] = vectors
assert.ok(first !== undefined)
const key = keyOf(first.algorithm)

test('no octet of a signed answer can be another one', () => {
  for (let i = 0; i < bytes(first.reply).length; i++) {
    const changed = bytes(first.reply)
    changed[i] = (changed[i] ?? 0) ^ 1
    let finding: string
    try {
      finding = verifyReply(changed, key, bytes(first.mac), first.atMs).is
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error))
      finding = 'no DNS message'
    }
    // The number of the message is outside of the signature: the original one is inside.
    assert.equal(finding === 'good', i < 2, `octet ${i}: ${finding}`)
  }
})

test('an answer to another request, by another key, too late, or without a signature', () => {
  const look = (reply: Uint8Array, by: TsigKey, mac: Uint8Array, nowMs: number) => verifyReply(reply, by, mac, nowMs).is
  assert.equal(look(bytes(first.reply), key, bytes(late.mac), first.atMs), 'wrong')
  assert.equal(
    look(bytes(first.reply), { ...key, secret: Buffer.from('other') }, bytes(first.mac), first.atMs),
    'wrong',
  )
  assert.equal(look(bytes(first.reply), { ...key, name: 'other' }, bytes(first.mac), first.atMs), 'wrong')
  assert.equal(look(bytes(first.reply), key, bytes(first.mac), first.atMs + 299_000), 'good')
  assert.equal(look(bytes(first.reply), key, bytes(first.mac), first.atMs + 302_000), 'wrong')
  assert.equal(look(update, key, bytes(first.mac), first.atMs), 'unsigned')
})

test('a server that does not like our clock says what its own says, and signs that', () => {
  const signed = signMessage(update, key, late.atMs)
  assert.equal(Buffer.from(signed.mac).toString('base64'), late.mac)
  const { serverAtMs } = late
  assert.deepEqual(verifyReply(bytes(late.reply), key, signed.mac, late.atMs), {
    is: 'refused',
    error: 'BADTIME',
    serverAtMs,
  })
  assert.equal(verifyReply(bytes(late.reply), key, bytes(first.mac), late.atMs).is, 'wrong')
})
