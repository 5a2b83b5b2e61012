// @ts-check
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const options = /** @type {const} */ ({
  directory: { meaning: "the web server's document root", type: 'path', required: true, parse: String },
})

/**
 * Proves names by files that a web server shows (RFC 8555 §8.3).
 * @type {import('acmems/plugin-api').Plugin<'solver', typeof options>}
 */
export default {
  kind: 'solver',
  name: 'webroot',
  meaning: 'prove names by HTTP, with files in a document root',
  options,
  async create({ directory }) {
    const folder = join(directory, '.well-known', 'acme-challenge')
    return {
      type: 'http-01',
      async present({ challenge, keyAuthorization }) {
        await mkdir(folder, { recursive: true })
        // acmems has checked that a token is base64url, so it is safe as a file's name.
        await writeFile(join(folder, challenge.token), keyAuthorization)
      },
      async cleanUp({ challenge }) {
        await rm(join(folder, challenge.token), { force: true })
      },
    }
  },
}
