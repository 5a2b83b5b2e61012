import { createHash } from 'node:crypto'
import type { Plugin } from '../../plugin-api.ts'

const options = {
  'public-key': {
    meaning: "the host's public key for signed requests (OpenSSH or PEM, one line)",
    type: 'key',
    list: true,
    parse: parseKey,
  },
} as const

/**
 * `public-key` (and the earliest acmems' `key`). The scheme that first used it was never finished, and request
 * signatures (RFC 9421) are not accepted yet: until they are, such a block lets nobody in, and says so at start.
 */
export const publicKeyCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'public-key',
  meaning: "the host's key (request signatures are not accepted yet: the block accepts nobody)",
  options,
  async create({ 'public-key': keys }, context) {
    const fingerprints = keys.map(
      (key) => `SHA256:${createHash('sha256').update(key, 'base64').digest('base64').replace(/=+$/, '')}`,
    )
    context.log.warn('request signatures are not accepted yet, so this block accepts nobody', { fingerprints })
    return { holds: () => false, couldHold: () => false }
  },
}

function parseKey(text: string): string {
  const base64 = text.split(/\s+/).find((word) => word.startsWith('AAAA')) ?? ''
  if (!/^AAAA[A-Za-z0-9+/]{40,}={0,2}$/.test(base64)) throw new Error('no OpenSSH public key (like AAAAB3NzaC1yc2E…)')
  return base64
}
