// @ts-check
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const options = /** @type {const} */ ({
  'ca-certificate': { meaning: 'PEM file of the CA certificate', type: 'path', required: true, parse: String },
  'ca-key': { meaning: "PEM file of the CA's key", type: 'path', required: true, parse: String },
  days: { meaning: 'lifetime of the certificates', type: 'days', default: '30', parse: Number },
})

/**
 * Issues from a CA that openssl runs. An issuer does one step at a time; this one needs only one.
 * @type {import('acmems/plugin-api').Plugin<'issuer', typeof options>}
 */
export default {
  kind: 'issuer',
  name: 'openssl',
  meaning: 'a CA of your own, run by openssl',
  options,
  needsNoVerification: true,
  async create({ 'ca-certificate': caFile, 'ca-key': caKeyFile, days }) {
    return {
      key: `openssl:${caFile}`,
      async advance(grant) {
        const folder = await mkdtemp(join(tmpdir(), 'issuer-openssl-'))
        try {
          // The names come from the grant, never from the request: only they were authorised.
          const names = grant.csr.identifiers.map(({ type, value }) => `${type === 'dns' ? 'DNS' : 'IP'}:${value}`)
          await writeFile(join(folder, 'request.der'), grant.csr.der)
          await writeFile(
            join(folder, 'extensions'),
            `subjectAltName=${names.join(',')}\nbasicConstraints=critical,CA:FALSE\n`,
          )
          const { stdout } = await promisify(execFile)(
            'openssl',
            [
              'x509',
              '-req',
              '-inform',
              'DER',
              '-in',
              'request.der',
              '-CA',
              caFile,
              '-CAkey',
              caKeyFile,
              '-days',
              String(days),
              '-extfile',
              'extensions',
            ],
            { cwd: folder, timeout: 10_000 },
          )
          const chainPem = `${stdout}${await readFile(caFile, 'utf8')}`
          return { outcome: 'done', chain: { chainPem, alternatesPem: [] } }
        } finally {
          await rm(folder, { recursive: true })
        }
      },
    }
  },
}
