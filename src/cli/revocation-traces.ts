import type { StoredEntry, StoredRegister } from '../state/certificate-register.ts'
import type { Certificate } from '../x509/certificate.ts'
import { parseCsrPem } from '../x509/csr.ts'
import { spkiSha256 } from '../x509/spki.ts'
import { allEntries } from './certificate-view.ts'
import type { Desk } from './open-installation.ts'
import type { Target } from './revocation-target.ts'

/** What was revoked is neither answered nor renewed again. Doing it once more after a crash leads to the same end. */
export async function forgetRevoked({ state, clock, context }: Desk, { entry, kept }: Target): Promise<void> {
  if (kept !== undefined) await kept.storage.forget(kept.request, context)
  if (entry !== undefined) await state.register.revoke(entry.id, clock.nowMs())
}

/** SHA-256 of the SubjectPublicKeyInfo, hexadecimal. */
export function publicKeyHashOf({ x509 }: Certificate): string {
  return spkiSha256(x509.publicKey, 'hex')
}

export async function findWithKey(register: StoredRegister, publicKeyHash: string): Promise<StoredEntry[]> {
  const found: StoredEntry[] = []
  for await (const entry of allEntries(register)) if (keyHashOf(entry) === publicKeyHash) found.push(entry)
  return found
}

function keyHashOf({ postedBytes }: StoredEntry): string | undefined {
  try {
    return parseCsrPem(Buffer.from(postedBytes).toString('latin1')).publicKeyHash
  } catch {
    return undefined
  }
}
