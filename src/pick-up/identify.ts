import { type SignatureCheck, type SignatureRefusal, type SignatureRules, unsigned } from '../http/signature-check.ts'
import { authenticate, couldAuthenticateSigned } from '../policy/authorize.ts'
import { isSigned } from '../signature/request-signature.ts'
import type { Identify, PickUpRules, Refusal } from './pick-up-door.ts'

const noBody = new Uint8Array()

/** Who asks, by a signature or by what else a block accepts, where a request has no body. */
export function createIdentify(
  checkSignature: SignatureCheck,
): Identify<PickUpRules & { readonly signatures: SignatureRules }> {
  return async (head, { blocks, signatures }) => {
    if (!signatures.wanted || !isSigned(head)) {
      const caller = authenticate({ ...head, bodyBytes: noBody }, blocks)
      return signatures.wanted && caller.blocks.length === 0 && couldAuthenticateSigned(head, blocks)
        ? refusalOf(unsigned(head, 'this request must be signed (RFC 9421)'))
        : caller
    }
    const verified = await checkSignature(head, signatures)
    if ('refused' in verified) return refusalOf(verified.refused)
    const refused = await verified.admit(noBody)
    return refused === undefined ? authenticate({ ...verified.head, bodyBytes: noBody }, blocks) : refusalOf(refused)
  }
}

function refusalOf({ status, text, headers }: SignatureRefusal): Refusal {
  return { status, text, headers }
}
