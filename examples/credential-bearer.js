// @ts-check
import { createHash, timingSafeEqual } from 'node:crypto'

const options = /** @type {const} */ ({
  'bearer-sha256': {
    meaning: 'SHA-256 (hexadecimal) of the token that the caller sends as "Authorization: Bearer TOKEN"',
    type: 'digest',
    list: true,
    /** @param {string} text */
    parse(text) {
      if (!/^[0-9a-f]{64}$/i.test(text)) throw new Error('not 64 hexadecimal digits')
      return Buffer.from(text, 'hex')
    },
  },
})

/**
 * Lets callers in who know a token; the configuration holds only its digest.
 * @type {import('acmems/plugin-api').Plugin<'credential', typeof options>}
 */
export default {
  kind: 'credential',
  name: 'bearer',
  meaning: 'a token in the Authorization header',
  options,
  async create({ 'bearer-sha256': digests }) {
    return {
      holds({ headers }) {
        const token = /^Bearer (\S{1,500})$/.exec(headers.get('authorization')?.[0] ?? '')?.[1]
        if (token === undefined) return false
        const digest = createHash('sha256').update(token).digest()
        return digests.some((expected) => timingSafeEqual(expected, digest))
      },
    }
  },
}
