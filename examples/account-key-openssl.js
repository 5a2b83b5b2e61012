// @ts-check
import { execFile } from 'node:child_process'
import { createPublicKey } from 'node:crypto'

const options = /** @type {const} */ ({
  location: {
    meaning: 'PEM file of an RSA key that only openssl ever reads',
    type: 'path',
    required: true,
    parse: String,
  },
})

/**
 * Keeps the account key out of the server's memory: every signature is made by a child process. With an engine or a
 * provider in openssl's configuration, that process can be the door to a smartcard.
 * @type {import('acmems/plugin-api').Plugin<'accountKey', typeof options>}
 */
export default {
  kind: 'accountKey',
  name: 'openssl',
  meaning: 'the account key is used by openssl, in a process of its own',
  options,
  async create({ location }) {
    const { kty, n, e } = createPublicKey(await run(['pkey', '-in', location, '-pubout'])).export({ format: 'jwk' })
    if (kty !== 'RSA' || n === undefined || e === undefined) throw new Error(`${location} is no RSA key`)
    return {
      alg: 'RS256',
      publicJwk: { kty, n, e },
      sign: (signingInput) => run(['dgst', '-sha256', '-sign', location], signingInput),
    }
  },
}

/**
 * @param {string[]} args
 * @param {Uint8Array} [input]
 * @returns {Promise<Buffer>}
 */
function run(args, input) {
  return new Promise((resolve, reject) => {
    const child = execFile('openssl', args, { encoding: 'buffer', timeout: 10_000 }, (error, stdout) => {
      if (error === null) resolve(stdout)
      else reject(error)
    })
    child.stdin?.end(input)
  })
}
