// @ts-check

const options = /** @type {const} */ ({
  url: {
    meaning: 'management address of pebble-challtestsrv',
    type: 'URL',
    required: true,
    parse: (/** @type {string} */ text) => new URL(text).href,
  },
})

/**
 * Publishes TXT records in pebble-challtestsrv, the DNS server of ACME test beds. A provider for a real zone looks the
 * same: it adds one value and removes exactly that one; what the value is, acmems works out.
 * @type {import('acmems/plugin-api').Plugin<'dns', typeof options>}
 */
export default {
  kind: 'dns',
  name: 'challtestsrv',
  meaning: 'prove names by DNS, with records in pebble-challtestsrv',
  options,
  async create({ url }) {
    /** @type {(path: string, body: object, context: import('acmems/plugin-api').PluginContext) => Promise<void>} */
    async function post(path, body, { http, signal }) {
      const reply = await http.request(new URL(path, url).href, {
        method: 'POST',
        body: JSON.stringify(body),
        maxBytes: 10_000,
        timeoutMs: 5000,
        signal,
      })
      if (reply.status !== 200) throw new Error(`challtestsrv answered ${reply.status}`)
    }
    return {
      addTxt: ({ fqdn, value }, context) => post('/set-txt', { host: `${fqdn}.`, value }, context),
      // challtestsrv can only remove all values of a name; a real provider removes the one it is given.
      removeTxt: ({ fqdn }, context) => post('/clear-txt', { host: `${fqdn}.` }, context),
    }
  },
}
