import { createPrivateKey, createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { AccountKey } from '../plugin-api.ts'
import { accountKeyOf } from '../plugins/keys/file.ts'
import type { Certificate } from '../x509/certificate.ts'

/** A certificate's own key, which may sign its revocation (RFC 8555 §7.6). @throws Error when it is another's */
export async function readCertificateKey(file: string, leaf: Certificate): Promise<AccountKey> {
  const pem = await readFile(file)
  let key: ReturnType<typeof createPrivateKey>
  try {
    key = createPrivateKey(pem)
  } catch (cause) {
    throw new Error(`${file} holds no private key that can be read (PEM, without a password)`, { cause })
  }
  if (!createPublicKey(key).equals(leaf.x509.publicKey))
    throw new Error(`the key in ${file} is not that of the certificate ${leaf.serial}`)
  return accountKeyOf(key)
}
