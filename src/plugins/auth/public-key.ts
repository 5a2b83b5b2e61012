import { readFileSync } from 'node:fs'
import type { Plugin, Presented, SigningKey } from '../../plugin-api.ts'
import { parsePublicKey, parseSecret, thumbprintOf, thumbprintOfSecret } from '../../signature/signing-key.ts'
import { parseYesNo } from '../option-values.ts'

const maxSecrets = 2

const options = {
  'public-key': {
    meaning:
      "a host's public key for signed requests: an OpenSSH line, PEM in one line, or the path of a file with either",
    type: 'key',
    list: true,
    parse: parseKey,
  },
  'signing-secret': {
    meaning:
      'a shared secret for signed requests (hmac-sha256), 32 octets or more; two are valid at a time, to change it',
    type: 'text',
    list: true,
    secret: true,
    parse: parseSecret,
  },
  'key-id': {
    meaning: "what signers call the block's keys (default: the block's name); a public key's thumbprint always works",
    type: 'text',
    parse: parseKeyId,
  },
  enroll: {
    meaning: 'yes: keys enrolled by "acmems enroll" are keys of this block, too',
    type: 'yes or no',
    parse: parseYesNo,
  },
} as const

/**
 * Signed requests (RFC 9421): any key of the block holds. The door has verified the signature; here only counts whose
 * it was.
 */
export const publicKeyCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'public-key',
  meaning: 'signed requests',
  options,
  check({ 'public-key': keys, 'signing-secret': secrets, 'key-id': keyId, enroll }) {
    if (secrets.length > maxSecrets) throw new Error(`signing-secret: at most ${maxSecrets} are valid at a time`)
    if (keyId !== undefined && keys.length + secrets.length === 0 && enroll !== true)
      throw new Error('key-id names the keys of public-key or signing-secret, and there are none')
  },
  async create({ 'public-key': keys, 'signing-secret': secrets, 'key-id': keyId, enroll }, { section }) {
    const signingKeys: readonly SigningKey[] = [
      ...keys.map((key) => ({ keyId: keyId ?? section, thumbprint: thumbprintOf(key), key })),
      ...secrets.map((key) => ({ keyId: keyId ?? section, thumbprint: thumbprintOfSecret(key), key })),
    ]
    const thumbprints = new Set(signingKeys.map(({ thumbprint }) => thumbprint))
    const holds = ({ signedBy }: Pick<Presented, 'signedBy'>) =>
      signedBy !== undefined &&
      (thumbprints.has(signedBy.thumbprint) || (enroll === true && signedBy.enrolledFor.includes(section)))
    return { holds, couldHold: holds, signingKeys }
  },
}

function parseKey(text: string) {
  const isFile = /^\.{0,2}\/|^\S+\.(pub|pem)$/.test(text)
  return parsePublicKey(isFile ? readFileSync(text, 'utf8') : text)
}

function parseKeyId(text: string): string {
  if (!/^[\x20-\x7e]{1,200}$/.test(text)) throw new Error('a key id has 1 to 200 printable ASCII characters')
  return text
}
