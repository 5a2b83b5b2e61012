import { type SignatureCheck, type SignatureRules, unsigned } from '../http/signature-check.ts'
import { authenticate, couldAuthenticateSigned } from '../policy/authorize.ts'
import { isSigned } from '../signature/request-signature.ts'
import type { Identify, PickUpRules } from './pick-up-door.ts'

const noBody = new Uint8Array()

/** Who picks up, as at /sign: by what the head says, or by a signature over it, which then has to hold. */
export function createIdentify(
  checkSignature: SignatureCheck,
): Identify<PickUpRules & { readonly signatures: SignatureRules }> {
  return async (head, { blocks, signatures }, bodyBytes = noBody) => {
    const known = authenticate({ ...head, bodyBytes }, blocks)
    if (!signatures.wanted) return known
    if (isSigned(head)) {
      const verified = await checkSignature(head, signatures)
      if ('refused' in verified) return verified.refused
      const signer = authenticate({ ...verified.head, bodyBytes }, blocks)
      // Only who has something to ask for uses up a nonce.
      if (signer.blocks.length === 0) return signer
      return (await verified.admit(bodyBytes)) ?? signer
    }
    return known.blocks.length === 0 && couldAuthenticateSigned(head, blocks)
      ? unsigned(head, 'this request must be signed (RFC 9421); docs/request-signatures.md has the lines')
      : known
  }
}
