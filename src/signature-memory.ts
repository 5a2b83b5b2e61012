import type { EnrolledSigningKey, SignatureMemory } from './http/signature-check.ts'
import { parsePublicKey } from './signature/signing-key.ts'
import type { State } from './state/state.ts'

/** What the state remembers of signatures. */
export function createSignatureMemory({ nonces, enrolments }: State): SignatureMemory {
  return {
    async findEnrolled(keyId) {
      const keys = await enrolments.findKeys(keyId)
      return keys.map(({ block, spkiPem }): EnrolledSigningKey => {
        return { block, key: { keyId, thumbprint: keyId, key: parsePublicKey(spkiPem) } }
      })
    },
    useNonce: nonces.use,
  }
}
