// @ts-check

const options = /** @type {const} */ ({})

/**
 * Keeps certificates until the server stops.
 * @type {import('acmems/plugin-api').Plugin<'storage', typeof options>}
 */
export default {
  kind: 'storage',
  name: 'memory',
  meaning: 'keep certificates in memory, until the server stops',
  options,
  async create() {
    /** @type {Map<string, string>} */
    const kept = new Map()
    /** @param {Parameters<import('acmems/plugin-api').CertificateStorage['find']>[0]} request */
    const keyOf = ({ csr, issuerKey, profile }) =>
      JSON.stringify([Buffer.from(csr.der).toString('base64'), issuerKey, profile ?? ''])
    return {
      find: async (request) => kept.get(keyOf(request)),
      keep: async (request, chainPem) => {
        kept.set(keyOf(request), chainPem)
      },
      forget: async (request) => {
        kept.delete(keyOf(request))
      },
    }
  },
}
