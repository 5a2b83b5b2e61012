import type { KeyObject } from 'node:crypto'
import type { EnrolledSigningKey, SignatureMemory } from './http/signature-check.ts'
import { parsePublicKey } from './signature/signing-key.ts'
import type { State } from './state/state.ts'

/** Of some 3 KiB. Hosts ask in turn: were there more of them than are remembered, not one would be found. */
const maxParsedKeys = 20_000

/** What the state remembers of signatures. */
export function createSignatureMemory({ nonces, enrolments }: State): SignatureMemory {
  /** By its text: whether a key may still be used is asked of the state every time. */
  const parsed = new Map<string, KeyObject>()
  const parse = (spkiPem: string) => {
    const key = parsed.get(spkiPem) ?? parsePublicKey(spkiPem)
    if (parsed.size >= maxParsedKeys && !parsed.has(spkiPem)) parsed.clear()
    parsed.set(spkiPem, key)
    return key
  }
  return {
    async findEnrolled(keyId) {
      const keys = await enrolments.findKeys(keyId)
      return keys.map(({ block, spkiPem }): EnrolledSigningKey => {
        return { block, key: { keyId, thumbprint: keyId, key: parse(spkiPem) } }
      })
    },
    useNonce: nonces.use,
  }
}
