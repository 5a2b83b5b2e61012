import { readFileSync, statSync } from 'node:fs'
import { errorCode } from '../error-code.ts'
import { type KeyType, keyTypeOf, parsePrivateKey } from '../x509/private-key.ts'

/** The key of a server as it lies there. */
export type ServerKey =
  /** No reason: there is no such file. */
  | { readonly kind: 'unknown'; readonly reason: string | undefined }
  | {
      readonly kind: 'known'
      readonly keyType: { readonly ours: KeyType | undefined; readonly theirs: string }
      /** `0640` */
      readonly mode: string
      readonly user: string
      readonly group: string
    }

/** Says what the file holds, and whose it is; never what the key is. */
export function lookAtServerKey(path: string): ServerKey {
  try {
    const pem = readFileSync(path)
    try {
      const key = parsePrivateKey(pem)
      const { mode, uid, gid } = statSync(path)
      const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
      return {
        kind: 'known',
        keyType: {
          ours: keyTypeOf(key),
          theirs: [key.asymmetricKeyType, namedCurve ?? modulusLength].filter(Boolean).join(' '),
        },
        mode: `0${(mode & 0o777).toString(8).padStart(3, '0')}`,
        user: nameOf('/etc/passwd', uid),
        group: nameOf('/etc/group', gid),
      }
    } finally {
      pem.fill(0)
    }
  } catch (error) {
    const isMissing = errorCode(error) === 'ENOENT'
    return {
      kind: 'unknown',
      reason: isMissing ? undefined : error instanceof Error ? error.message : 'unknown reason',
    }
  }
}

/** Users from elsewhere are called by their number. */
function nameOf(file: string, id: number): string {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.map((line) => line.split(':')).find((fields) => fields[2] === String(id))?.[0] ?? String(id)
}
